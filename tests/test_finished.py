"""A finished arm opened again: evaluated as it was scored, and folded into a checkpoint that answers the same."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from doubles import save_tiny, write_squad
from test_sweep import experiment
from thinwire.config import EvaluationConfig, ModelConfig, PromptConfig
from thinwire.errors import UsageError
from thinwire.evaluation_run import evaluate_target
from thinwire.export import export
from thinwire.finished import find_arm, opened
from thinwire.progress import Display
from thinwire.sweep import run_sweep


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    save_tiny(folder / "model")
    write_squad(folder / "train.json")
    write_squad(folder / "test.json", num_articles=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THINWIRE_CACHE", str(folder / "cache"))
        # Rates high enough that LoRA and adapter visibly change the answers.
        made = experiment(folder, training={"epochs": 2, "batch_size": 4, "lora_lr": 0.1, "adapter_lr": 0.01})
        run_sweep(made, folder / "run", controls="all")
    return folder / "run"


def evaluate(target, data, **changes):
    options = {
        "data": str(data),
        "num": 6,
        "seed": 0,
        "model": ModelConfig(name=str(target), device="cpu", dtype="float32"),
        "prompt": PromptConfig(),
        "evaluation": EvaluationConfig(max_new_tokens=4),
        "unanswerable": "refuse",
        "display": Display(),
    }
    return evaluate_target(str(target), **{**options, **changes})


@pytest.mark.parametrize("name", ["baseline", "r2", "controls/codec_only", "controls/text_lora"])
def test_evaluating_a_checkpoint_gives_the_figures_and_answers_of_its_record(run, name):
    record = json.loads((run / name / "record.json").read_text())
    metrics, answers = evaluate(run / name, run.parent / "test.json")
    assert metrics == record["test"]
    rows = [json.loads(line) for line in (run / name / "predictions.jsonl").read_text().splitlines()]
    assert answers == {row["id"]: row["text"] for row in rows}


def test_a_bare_model_reads_plain_text(run):
    metrics, answers = evaluate(run.parent / "model", run.parent / "test.json", num=None)
    assert metrics["n"] == len(answers) == 8


@pytest.mark.parametrize("name", ["baseline", "r2"])
def test_an_exported_arm_is_an_ordinary_checkpoint_that_says_the_same(run, name, tmp_path):
    target = tmp_path / "checkpoint"
    export(find_arm(run / name, device="cpu"), target)
    folded = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    assert not folded.config.tie_word_embeddings
    ids = torch.arange(20, 60)[None]
    with opened(find_arm(run / name, device="cpu")) as (lm, reader), torch.no_grad():
        table = reader.table(torch.float32)
        expected = lm.model(inputs_embeds=table[ids]).logits
        assert not torch.allclose(expected, lm.model(input_ids=ids).logits), "the arm must differ from its base"
        torch.testing.assert_close(folded(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)
    metrics, _ = evaluate(target, run.parent / "test.json")
    assert metrics == json.loads((run / name / "record.json").read_text())["test"]
    with pytest.raises(UsageError, match="exists, and nothing is overwritten"):
        export(find_arm(run / name), target)


def test_a_folder_that_is_no_finished_arm_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match=r"no record\.json"):
        find_arm(tmp_path)
    record = json.loads((run / "r2" / "record.json").read_text())
    (tmp_path / "record.json").write_text(json.dumps({**record, "status": "failed", "error": "too warm"}))
    with pytest.raises(UsageError, match=r"not done \(failed: too warm\)"):
        find_arm(tmp_path)


def test_another_model_under_the_same_name_is_refused(run, tmp_path):
    record = json.loads((run / "baseline" / "record.json").read_text())
    other = save_tiny(tmp_path / "other", seed=1)
    record["model"]["name"] = str(other)
    moved = tmp_path / "run" / "baseline"
    moved.mkdir(parents=True)
    (moved / "record.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="get that revision"), opened(find_arm(moved, device="cpu")):
        pass


def test_a_missing_codec_is_named(run, tmp_path):
    moved = tmp_path / "run" / "baseline"
    moved.mkdir(parents=True)
    (moved / "record.json").write_bytes((run / "baseline" / "record.json").read_bytes())
    with (
        pytest.raises(Exception, match=r"codec .*pca-.* is missing; copy the whole run folder"),
        opened(find_arm(Path(moved), device="cpu")),
    ):
        pass
