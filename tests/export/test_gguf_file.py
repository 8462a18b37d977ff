"""An arm as a GGUF file: read again by transformers, and by llama.cpp where the package xllamacpp is installed."""

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer

from llama_cpp_server import ask_llama_cpp
from thinwire.checkpoints.load import find_arm, load_arm
from thinwire.errors import UsageError
from thinwire.export.gguf_layout import GgufLayout, check_layout
from thinwire.export.write import export
from tiny_gguf import interleaved, tiny_gguf_llama, write_tiny_gguf
from tiny_models import END_ID, SPECIAL


@pytest.fixture(scope="module")
def exported(gguf_run, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THINWIRE_CACHE", str(gguf_run.parent / "cache"))
        folder = tmp_path_factory.mktemp("gguf") / "out"
        export(find_arm(gguf_run / "baseline", device="cpu"), folder, "gguf")
    return folder


FILE = "baseline-F32.gguf"


def test_transformers_reads_the_file_with_equal_logits(gguf_run, exported, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(gguf_run.parent / "cache"))
    read = AutoModelForCausalLM.from_pretrained(exported, gguf_file=FILE, dtype=torch.float32)
    lm, inputs = load_arm(find_arm(gguf_run / "baseline", device="cpu"))
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        expected = lm.model(inputs_embeds=inputs.matrix(torch.float32)[ids]).logits
        torch.testing.assert_close(read(input_ids=ids).logits, expected, atol=1e-6, rtol=1e-6)
        assert not torch.allclose(expected, tiny_gguf_llama()(input_ids=ids).logits), (
            "the arm must differ from its base"
        )
    assert not read.config.tie_word_embeddings


def test_the_header_is_the_base_files_with_the_end_token_of_the_template(gguf_run, exported):
    found, base = (GGUFReader(path).fields for path in (exported / FILE, gguf_run.parent / "tiny.gguf"))
    assert found["tokenizer.ggml.eos_token_id"].contents() == END_ID != base["tokenizer.ggml.eos_token_id"].contents()
    same = [name for name in base if name.startswith(("llama.", "tokenizer.")) and "eos" not in name]
    assert len(same) > 15
    assert all(found[name].contents() == base[name].contents() for name in same)
    assert found["general.license"].contents() == "mit"
    card = (exported / "README.md").read_text()
    assert "\nlicense: mit\n" in card
    assert f"llama-cli -m {FILE} --temp 0 -n 24" in card


def test_an_adapter_of_peft_is_loaded_onto_the_unpacked_file(gguf_run, tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(gguf_run.parent / "cache"))
    export(find_arm(gguf_run / "baseline", device="cpu"), tmp_path / "out", "peft")
    # In float32, but from the numbers that Thinwire reads, which it rounds to bfloat16.
    loads = 'gguf_file="tiny.gguf", quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16'
    assert f'    "FOLDER", {loads}\n).to(torch.float32)\n' in (tmp_path / "out" / "README.md").read_text()


def test_a_model_of_another_form_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match=r"is none; take --format transformers and convert that folder with"):
        export(find_arm(run / "r2", device="cpu"), tmp_path / "out", "gguf")
    assert not (tmp_path / "out").exists()


def test_rows_of_queries_are_put_in_the_order_of_llama_cpp():
    layout = GgufLayout(tiny_gguf_llama(), "llama")
    # Four heads of 8 rows; row 8h + i of half i < 4 comes to 8h + 2i, row 8h + 4 + i to 8h + 2i + 1.
    values = layout.values("blk.0.attn_q.weight", torch.arange(32.0)[:, None])[:, 0]
    assert values[:8].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert values[24:].tolist() == [24, 28, 25, 29, 26, 30, 27, 31]
    # Two key heads of 8 rows.
    keys = torch.arange(16.0)[:, None]
    np.testing.assert_array_equal(layout.values("blk.0.attn_k.weight", keys), interleaved(keys, 2).numpy())
    np.testing.assert_array_equal(layout.values("blk.0.attn_v.weight", keys), keys.numpy())


def test_norms_of_gemma_are_stored_with_one_added():
    layout = GgufLayout(tiny_gguf_llama(), "gemma3")
    assert layout.values("blk.0.attn_norm.weight", torch.tensor([-0.5, 0.25])).tolist() == [0.5, 1.25]
    assert layout.values("blk.0.attn_q.weight", torch.tensor([[1.0], [2.0]])).tolist() == [[1.0], [2.0]]


def test_a_layout_that_is_not_that_of_the_base_file_is_refused(tmp_path):
    model, path = tiny_gguf_llama(), write_tiny_gguf(tmp_path / "tiny.gguf")
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    check_layout(GgufLayout(model, "llama"), model, tensors, "tiny.gguf")
    with pytest.raises(UsageError, match=r"the tensor blk\.0\.attn_q\.weight of tiny\.gguf cannot be told"):
        check_layout(GgufLayout(model, "qwen2"), model, tensors, "tiny.gguf")  # which does not reorder rows
    del tensors["blk.1.ffn_up.weight"]
    with pytest.raises(UsageError, match=r"the tensor blk\.1\.ffn_up\.weight of"):
        check_layout(GgufLayout(model, "llama"), model, tensors, "tiny.gguf")


def test_llama_cpp_gives_the_answers_of_transformers(exported):
    read = AutoModelForCausalLM.from_pretrained(exported, gguf_file=FILE, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(exported, gguf_file=FILE)
    chats = [[{"role": "user", "content": text}] for text in ("How many mills has town 1-2?", "Is the bath then here?")]
    prompts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    ids = [tokenizer(prompt, add_special_tokens=False).input_ids for prompt in prompts]
    num_tokens = read.config.vocab_size
    # The model says one byte after another, and the server holds back what is no text yet. So only ASCII may be chosen;
    # the log-probabilities are those of all tokens.
    banned = [i for i in range(num_tokens) if i < len(SPECIAL) or not tokenizer.decode([i]).isascii()]
    greedy = {"n_predict": 12, "temperature": 0, "return_tokens": True, "n_probs": num_tokens, "cache_prompt": False}
    greedy["logit_bias"] = [[token, False] for token in banned]
    asked = [("/apply-template", {"messages": chat}) for chat in chats]
    asked += [("/tokenize", {"content": prompt, "add_special": False, "parse_special": True}) for prompt in prompts]
    asked += [("/completion", {"prompt": prompt, **greedy}) for prompt in ids]
    *answers, properties = ask_llama_cpp(exported / FILE, [*asked, ("/props", None)])
    assert [answer["prompt"] for answer in answers[:2]] == prompts
    assert [answer["tokens"] for answer in answers[2:4]] == ids
    for prompt, answer in zip(ids, answers[4:], strict=True):
        settings = {"do_sample": False, "max_new_tokens": 12, "suppress_tokens": banned}
        expected = read.generate(torch.tensor([prompt]), **settings)[0]
        assert answer["tokens"] == expected[len(prompt) :].tolist()
        with torch.no_grad():
            logits = read(input_ids=expected[None, :-1]).logits[0, len(prompt) - 1 :]
        found = torch.full((12, num_tokens), torch.nan)
        for position, token in enumerate(answer["completion_probabilities"]):
            for entry in token["top_logprobs"]:
                found[position, entry["id"]] = entry["logprob"]
        torch.testing.assert_close(found, logits.log_softmax(dim=-1), atol=1e-4, rtol=1e-4)
    assert properties["eos_token"] == tokenizer.decode([END_ID])
