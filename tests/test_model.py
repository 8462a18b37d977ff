import dataclasses

import pytest
import torch
from huggingface_hub.errors import GatedRepoError
from transformers import DynamicCache

from doubles import END_ID, EOS_ID, save_tiny, tiny_llama, tiny_lm
from thinwire import model as model_module
from thinwire.config import ModelConfig
from thinwire.errors import UsageError
from thinwire.model import DEFAULT_MODEL, PLAN_MODEL, choose_device, choose_model, load
from thinwire.packing import pack


def test_logits_at_chosen_positions_are_the_models_own():
    lm = tiny_lm()
    ids = torch.arange(5, 29).reshape(2, 12)
    expected = lm.model(input_ids=ids).logits
    packed = pack(ids.tolist())
    embeddings = lm.table[torch.from_numpy(packed.ids)][None]
    (hidden,) = lm.packed_states(embeddings, torch.from_numpy(packed.positions), packed.segments)
    torch.testing.assert_close(lm.logits(hidden[[rows[7] for rows in packed.rows]]), expected[:, 7])


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_next_token_is_the_same_whatever_gaps_its_cache_has(side):
    lm = tiny_lm()
    ids = torch.arange(5, 15)[None]
    expected = lm.model.get_decoder()(input_ids=ids).last_hidden_state[:, -1]
    # Nine tokens in the cache, and four gaps before or behind them that the mask leaves out.
    gap, read = torch.full((1, 4), 7), ids[:, :-1]
    mask = torch.cat([0 * gap, 0 * read + 1] if side == "left" else [0 * read + 1, 0 * gap], 1)
    padded = torch.cat([gap, read] if side == "left" else [read, gap], 1)
    cache = DynamicCache(config=lm.model.config)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    lm.model.get_decoder()(input_ids=padded, attention_mask=mask, position_ids=positions, past_key_values=cache)
    key_mask = torch.cat([mask.bool(), torch.ones(1, 1, dtype=torch.bool)], 1)
    found = lm.next_states(lm.table[ids[:, -1]], torch.tensor([9]), [key_mask], cache)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_loaded_model_is_frozen_and_in_the_dtype_asked_for(tmp_path):
    folder = str(save_tiny(tmp_path / "model"))
    for dtype in ("bfloat16", "float32"):
        lm = load(ModelConfig(name=folder, dtype=dtype, device="cpu"))
        assert lm.dtype == getattr(torch, dtype)
        assert not lm.model.training
        assert not any(p.requires_grad for p in lm.model.parameters())


@pytest.mark.parametrize(("able", "dtype"), [({"avx2": True}, torch.float32), ({"amx_bf16": True}, torch.bfloat16)])
def test_by_default_weights_are_of_the_type_that_the_processor_is_fast_in(able, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    lm = load(ModelConfig(name=str(save_tiny(tmp_path / "model")), device="cpu"))
    assert lm.dtype == dtype
    assert lm.identity()["dtype"] == str(dtype).removeprefix("torch."), "what a record says"


def test_a_folders_revision_is_its_embedding_tables_hash(tmp_path):
    one, other = save_tiny(tmp_path / "a"), save_tiny(tmp_path / "b", seed=1)
    revisions = [load(ModelConfig(name=str(folder), device="cpu")).revision for folder in (one, one, other)]
    assert revisions[0] == revisions[1] != revisions[2]


def test_answers_stop_at_the_templates_end_and_at_the_models_own():
    lm = tiny_lm()
    assert lm.model.generation_config.eos_token_id == EOS_ID
    assert lm.stop_ids(END_ID) == {END_ID, EOS_ID}
    lm.model.generation_config.eos_token_id = [7, 8]
    assert lm.stop_ids(END_ID) == {END_ID, 7, 8}
    lm.model.generation_config.eos_token_id = None
    assert lm.stop_ids(END_ID) == {END_ID}


def test_a_model_that_does_more_to_its_logits_is_refused():
    lm = tiny_lm()

    class Scaled(torch.nn.Linear):
        calls = 0

        def forward(self, hidden):
            Scaled.calls += 1
            return super().forward(hidden) * (3 if Scaled.calls == 1 else 1)  # as if the model scaled outside its head

    head = Scaled(32, 261, bias=False)
    head.weight = lm.model.lm_head.weight
    lm.model.lm_head = head
    with pytest.raises(UsageError, match="logits are not output head x last hidden state"):
        model_module._check_states(lm)


def test_a_model_whose_attention_is_not_plain_is_refused():
    lm = tiny_lm()
    model_module._check_states(lm)
    for layer in lm.model.model.layers:
        # As if its own attention scaled its scores by what ours is not told.
        layer.self_attn.register_forward_pre_hook(
            lambda module, *_: setattr(
                module, "scaling", 8**-0.5 if lm.model.config._attn_implementation == "thinwire_segments" else 1.0
            )
        )
    with pytest.raises(UsageError, match="attention other than causal softmax attention"):
        model_module._check_states(lm)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such.gguf", r"no GGUF file no/such\.gguf"),
        ("..bad name..", "no model|is no local folder"),
    ],
)
def test_a_model_that_is_nowhere_is_one_line_with_the_remedy(name, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=message) as caught:
        load(ModelConfig(name=name, device="cpu"))
    assert "\n" not in str(caught.value)
    assert DEFAULT_MODEL in str(caught.value)


def test_a_gated_model_is_one_line_that_says_where_to_accept_its_licence():
    refused = OSError("You are trying to access a gated repo.\nMake sure to have access to it.")
    refused.__cause__ = GatedRepoError.__new__(GatedRepoError)  # as transformers raises it; there is no hub here
    said = model_module._remedy(PLAN_MODEL, refused)
    assert f"accept its licence at https://huggingface.co/{PLAN_MODEL}, then run `hf auth login`" in said
    assert "\n" not in said


def test_a_folder_without_a_checkpoint_is_said_to_be_one(tmp_path):
    with pytest.raises(UsageError, match="holds no checkpoint"):
        load(ModelConfig(name=str(tmp_path), device="cpu"))


def test_auto_says_which_model_and_why(monkeypatch):
    assert choose_model("some/model", torch.device("cpu")) == ("some/model", "asked for")
    assert choose_model("auto", torch.device("cpu")) == (DEFAULT_MODEL, f"no CUDA device for {PLAN_MODEL}")
    # Only the size of a card and the presence of a file are stood in for: there is no card here.
    gigabytes = {"total_memory": 24e9}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: dataclasses.make_dataclass("Card", gigabytes)(**gigabytes)
    )
    assert choose_model("auto", torch.device("cuda")) == (
        DEFAULT_MODEL,
        f"the CUDA device has 24 GB, {PLAN_MODEL} takes 40",
    )
    gigabytes["total_memory"] = 80e9
    monkeypatch.setattr(model_module, "is_cached", lambda _: False)
    assert choose_model("auto", torch.device("cuda"))[0] == DEFAULT_MODEL
    monkeypatch.setattr(model_module, "is_cached", lambda _: True)
    assert choose_model("auto", torch.device("cuda"))[0] == PLAN_MODEL


def test_a_device_that_is_not_there_is_refused():
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="is no device"):
        choose_device("gpu0")
    with pytest.raises(UsageError, match="CUDA devices"):
        choose_device("cuda:63")


def test_the_table_is_the_models_embeddings_and_its_hash_follows_its_bytes():
    lm = tiny_lm()
    assert lm.table.data_ptr() == lm.model.get_input_embeddings().weight.data_ptr()
    assert lm.table_hash() == tiny_lm().table_hash() != tiny_lm(seed=1).table_hash()
    assert tiny_lm(dtype=torch.bfloat16).table_hash() != lm.table_hash()
    assert lm.num_layers == 2 == tiny_llama().config.num_hidden_layers
