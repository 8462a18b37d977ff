"""Exports as other programs open them: by the lines of their own model cards, in a process without Thinwire."""

import json
import re

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from card_lines import code_of, said_by
from thinwire.checkpoints.load import find_arm, load_arm
from thinwire.data.sources import load_questions
from thinwire.errors import UsageError
from thinwire.export.write import checked_format, export
from tiny_models import END_ID, EOS_ID
from tiny_sweeps import lines


@pytest.fixture(scope="module")
def exports(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    made = {}
    for arm in ("r2", "controls/text_lora"):
        for form in ("transformers", "peft"):
            target = folder / f"{form}_{arm.replace('/', '_')}"
            made[arm, form] = export(find_arm(run / arm, device="cpu"), target, form)
    return made


def test_the_lines_of_the_card_give_the_answers_that_were_scored(run, exports):
    examples = {one.id: one for one in load_questions(str(run.parent / "test.json"), "test", "refuse")}
    asked, expected = [], []
    for (arm, form), made in exports.items():
        for row in lines(run / arm / "predictions.jsonl")[: 2 if form == "transformers" else 1]:
            asked.append(code_of(made.folder, examples[row["id"]], base=run.parent / "model"))
            expected.append(row["text"])
        # All answers end at the end token, so the other program stops where Thinwire does.
        assert json.loads((run / arm / "record.json").read_text())["results"]["test"]["length_stop_share"] == 0
    assert len(set(expected)) > 1
    assert said_by(asked) == expected


def test_settings_of_generation_are_those_of_the_scores(exports):
    # The tokenizer's end token is EOS_ID, but the chat template ends a turn with END_ID.
    expected = {"do_sample": False, "eos_token_id": [END_ID, EOS_ID], "max_new_tokens": 24, "pad_token_id": 0}
    for made in exports.values():
        found = json.loads((made.folder / "generation_config.json").read_text())
        assert {name: found[name] for name in expected} == expected
        assert (made.folder / "chat_template.jinja").exists()
    config = json.loads((exports["r2", "transformers"].folder / "config.json").read_text())
    assert config["eos_token_id"] == [END_ID, EOS_ID]


def tensors(folder, file):
    with safe_open(folder / file, "pt") as opened:
        return set(opened.keys())


def test_the_head_is_untied_only_where_the_embeddings_are_rebuilt(exports):
    rebuilt, text = exports["r2", "transformers"], exports["controls/text_lora", "transformers"]
    assert "lm_head.weight" in tensors(rebuilt.folder, "model.safetensors")
    assert "lm_head.weight" not in tensors(text.folder, "model.safetensors")
    assert json.loads((text.folder / "config.json").read_text())["tie_word_embeddings"] is True
    assert "stays tied" in text.notes[0]
    # 261 rows of 32 float32 numbers are 33,408 bytes.
    assert re.search(r"holds both: 0\.0 MB more", rebuilt.notes[0])
    sizes = [(made.folder / "model.safetensors").stat().st_size for made in (rebuilt, text)]
    assert 33_408 <= sizes[0] - sizes[1] < 33_408 + 200
    assert rebuilt.num_bytes == sum(file.stat().st_size for file in rebuilt.folder.iterdir())


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("arm", ["r2", "controls/text_lora"])
def test_the_adapter_of_peft_gives_the_logits_and_leaves_the_head(run, exports, arm):
    base = AutoModelForCausalLM.from_pretrained(run.parent / "model", dtype=torch.float32)
    original = base.get_input_embeddings().weight.clone()
    adapted = PeftModel.from_pretrained(base, exports[arm, "peft"].folder)
    lm, inputs = load_arm(find_arm(run / arm, device="cpu"))
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        expected = lm.model(inputs_embeds=inputs.matrix(torch.float32)[ids]).logits
        torch.testing.assert_close(adapted(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(adapted.get_base_model().get_output_embeddings().weight, original)
    saves = json.loads((exports[arm, "peft"].folder / "adapter_config.json").read_text())["modules_to_save"]
    assert saves == (["model.embed_tokens"] if arm == "r2" else None)


def test_an_arm_without_lora_is_no_adapter(run, tmp_path):
    with pytest.raises(UsageError, match=r"has no LoRA, .* take --format transformers"):
        export(find_arm(run / "baseline", device="cpu"), tmp_path / "out", "peft")
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_is_refused():
    with pytest.raises(UsageError, match=r"--format takes transformers, peft, gguf, got 'onnx'"):
        checked_format("onnx")
