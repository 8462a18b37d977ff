"""The language model: loading and choosing it, its logits, and what is refused."""

import dataclasses

import pytest
import torch
from huggingface_hub.errors import GatedRepoError
from transformers import DynamicCache

from thinwire.config.settings import ModelConfig
from thinwire.errors import UsageError
from thinwire.model import loading
from thinwire.model.hub import DEFAULT_MODEL, load_error_message
from thinwire.model.loading import PLAN_MODEL, choose_device, choose_model, load
from thinwire.model.support import check_model
from thinwire.ops.packing import pack
from tiny_models import END_ID, EOS_ID, save_tiny, tiny_llama, tiny_lm


def test_logits_at_chosen_positions_are_the_models_own():
    lm = tiny_lm()
    ids = torch.arange(5, 29).reshape(2, 12)
    expected = lm.model(input_ids=ids).logits
    packed = pack(ids.tolist())
    embeddings = lm.embedding_matrix[torch.from_numpy(packed.ids)][None]
    (hidden,) = lm.packed_states(embeddings, torch.from_numpy(packed.positions), packed.segments)
    torch.testing.assert_close(lm.logits(hidden[[rows[7] for rows in packed.rows]]), expected[:, 7])


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_next_token_is_the_same_whatever_gaps_its_cache_has(side):
    lm = tiny_lm()
    ids = torch.arange(5, 15)[None]
    expected = lm.model.get_decoder()(input_ids=ids).last_hidden_state[:, -1]
    # Nine tokens in the cache, and four masked gaps before or after them.
    gap, prompt = torch.full((1, 4), 7), ids[:, :-1]
    mask = torch.cat([0 * gap, 0 * prompt + 1] if side == "left" else [0 * prompt + 1, 0 * gap], 1)
    padded = torch.cat([gap, prompt] if side == "left" else [prompt, gap], 1)
    cache = DynamicCache(config=lm.model.config)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    lm.model.get_decoder()(input_ids=padded, attention_mask=mask, position_ids=positions, past_key_values=cache)
    key_mask = torch.cat([mask.bool(), torch.ones(1, 1, dtype=torch.bool)], 1)
    found = lm.next_states(lm.embedding_matrix[ids[:, -1]], torch.tensor([9]), [key_mask], cache)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_loaded_model_is_frozen_and_in_the_dtype_asked_for(tmp_path):
    folder = str(save_tiny(tmp_path / "model"))
    for dtype in ("bfloat16", "float32"):
        lm = load(ModelConfig(name=folder, dtype=dtype, device="cpu"))
        assert lm.dtype == getattr(torch, dtype)
        assert not lm.model.training
        assert not any(p.requires_grad for p in lm.model.parameters())


@pytest.mark.parametrize(("able", "dtype"), [({"avx2": True}, torch.float32), ({"amx_bf16": True}, torch.bfloat16)])
def test_by_default_weights_have_the_dtype_that_the_cpu_multiplies_fast(able, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    lm = load(ModelConfig(name=str(save_tiny(tmp_path / "model")), device="cpu"))
    assert lm.dtype == dtype
    assert lm.identity().dtype == str(dtype).removeprefix("torch.")


def test_a_folders_revision_is_its_embedding_matrixs_hash(tmp_path):
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "change", [lambda x: x * 1.05, lambda x: 50 * torch.tanh(x / 50)], ids=["scaled", "capped beyond all of them"]
)
def test_a_model_that_scales_or_caps_its_logits_is_refused_in_every_type(change, dtype):
    lm = tiny_lm(dtype=dtype)
    check_model(lm)
    lm.model.register_forward_hook(lambda _, __, out: setattr(out, "logits", change(out.logits)))
    with pytest.raises(UsageError, match="logits are not output head x last hidden state"):
        check_model(lm)


def test_a_model_whose_attention_is_not_plain_is_not_packed(caplog):
    lm = tiny_lm()
    assert check_model(lm) is lm
    assert lm.packs
    for layer in lm.model.model.layers:
        # As if the model's own attention had a scale that patched attention does not get.
        layer.self_attn.register_forward_pre_hook(
            lambda module, *_: setattr(
                module, "scaling", 8**-0.5 if lm.model.config._attn_implementation == "thinwire_segments" else 1.0
            )
        )
    assert check_model(lm).batching == "padded"
    assert "attention other than causal softmax attention" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such.gguf", r"no GGUF file no/such\.gguf"),
        ("..bad name..", "no model|is no local folder"),
    ],
)
def test_the_error_for_a_model_that_does_not_exist_is_one_line_with_a_remedy(name, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=message) as caught:
        load(ModelConfig(name=name, device="cpu"))
    assert "\n" not in str(caught.value)
    assert DEFAULT_MODEL in str(caught.value)


def test_the_error_for_a_gated_model_is_one_line_that_says_where_to_accept_its_licence():
    refused = OSError("You are trying to access a gated repo.\nMake sure to have access to it.")
    refused.__cause__ = GatedRepoError.__new__(GatedRepoError)  # as transformers raises it; tests have no network
    message = load_error_message(PLAN_MODEL, refused)
    assert f"accept its licence at https://huggingface.co/{PLAN_MODEL}, then run `hf auth login`" in message
    assert "\n" not in message


def test_the_error_for_a_folder_without_a_checkpoint_says_so(tmp_path):
    with pytest.raises(UsageError, match=r"the folder has no config\.json"):
        load(ModelConfig(name=str(tmp_path), device="cpu"))


def test_auto_says_which_model_and_why(monkeypatch):
    assert choose_model("some/model", torch.device("cpu")) == ("some/model", "asked for")
    assert choose_model("auto", torch.device("cpu")) == (
        DEFAULT_MODEL,
        "the default without a CUDA device; model.name=ID chooses another",
    )
    # There is no GPU here: its memory, and whether the weights are in the cache, are patched.
    gigabytes = {"total_memory": 24e9}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: dataclasses.make_dataclass("Card", gigabytes)(**gigabytes)
    )
    assert choose_model("auto", torch.device("cuda")) == (
        DEFAULT_MODEL,
        f"the default on a CUDA device of 24 GB, where {PLAN_MODEL} takes 40; model.name=ID chooses another",
    )
    gigabytes["total_memory"] = 80e9
    monkeypatch.setattr(loading, "is_cached", lambda _: False)
    assert choose_model("auto", torch.device("cuda")) == (
        DEFAULT_MODEL,
        f"the default where the Hugging Face cache has no {PLAN_MODEL}; model.name=ID chooses another",
    )
    monkeypatch.setattr(loading, "is_cached", lambda _: True)
    assert choose_model("auto", torch.device("cuda"))[0] == PLAN_MODEL


def test_a_device_that_does_not_exist_is_refused():
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="is no device"):
        choose_device("gpu0")
    with pytest.raises(UsageError, match="is not there; here are: cpu"):
        choose_device("cuda:63")


def test_the_embedding_matrix_is_the_models_and_its_hash_follows_its_bytes():
    lm = tiny_lm()
    assert lm.embedding_matrix.data_ptr() == lm.model.get_input_embeddings().weight.data_ptr()
    assert lm.embedding_hash() == tiny_lm().embedding_hash() != tiny_lm(seed=1).embedding_hash()
    assert tiny_lm(dtype=torch.bfloat16).embedding_hash() != lm.embedding_hash()
    assert lm.num_layers == 2 == tiny_llama().config.num_hidden_layers


@pytest.mark.parametrize(
    ("changes", "window", "positions"),
    [
        ({}, None, 2048),
        ({"sliding_window": 64}, 64, 2048),
        ({"sliding_window": 64, "use_sliding_window": False}, None, 2048),
        ({"sliding_window": 64, "layer_types": ["full_attention", "full_attention"]}, None, 2048),
        ({"sliding_window": 64, "layer_types": ["full_attention", "sliding_attention"]}, 64, 2048),
        ({"rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 512}}, None, 512),
        ({"rope_parameters": {"rope_type": "yarn", "original_max_position_embeddings": 512}}, None, 2048),
    ],
)
def test_the_window_and_the_positions_are_the_configurations(changes, window, positions):
    lm = tiny_lm()
    for name, value in changes.items():
        setattr(lm.model.config, name, value)
    assert (lm.window, lm.most_positions) == (window, positions)


def test_a_model_with_an_extra_argument_of_attention_is_not_packed_and_the_log_names_it(caplog):
    lm = tiny_lm()
    for layer in lm.model.model.layers:
        layer.self_attn.register_forward_pre_hook(
            lambda _, args, kwargs: (args, {**kwargs, "position_bias": 0.0 if "blocks" in kwargs else None}),
            with_kwargs=True,
        )
    assert check_model(lm).batching == "padded"
    assert "tiny: the model's attention takes position_bias, which packed sequences cannot have yet; so" in caplog.text


def test_a_model_that_runs_neither_packed_nor_padded_is_refused_with_both_causes():
    lm = tiny_lm()

    def refuse(_, __, kwargs):
        if kwargs.get("inputs_embeds") is not None:
            raise ValueError("give input_ids")

    lm.model.get_decoder().register_forward_pre_hook(refuse, with_kwargs=True)
    with pytest.raises(UsageError, match=r"tiny: .* packed sequences \(give input_ids\); nor .* \(give input_ids\)"):
        check_model(lm)


def test_a_model_whose_own_generate_gives_other_logits_than_it_is_refused():
    lm = tiny_lm()
    lm.model.set_attn_implementation = lambda _: None  # so it cannot be packed

    def change(_, __, kwargs, out):
        if kwargs["use_cache"]:  # only in generate()
            out.logits = out.logits.flip(-1)

    lm.model.register_forward_hook(change, with_kwargs=True)
    with pytest.raises(UsageError, match=r"generate\(\) has other logits than the model"):
        check_model(lm)
