"""A sweep whose arms read blocks of tokens: trained, saved, scored again, used as a language model, and refused
where tokens are needed."""

import json

import pytest
import torch

from task_rows import task_rows, write_rows
from thinwire.api import CompressedLM
from thinwire.checkpoints.load import check_has_matrix, find_arm
from thinwire.config.experiment import ArmConfig
from thinwire.data.sources import load_questions
from thinwire.errors import UsageError
from thinwire.experiment.sweep import run_sweep
from thinwire.results.arm_record import read_arm_record
from thinwire.schema import build
from tiny_sweeps import LORA, evaluate, experiment, lines

MODES = ("autoencoding", "continuation", "recall", "cloze")
ARMS = {
    "k2_taught": {
        "blocks": {"reconstruction": {"kd_weight": 1.0}},
        "supervision": {"kd_weight": 1.0, "ce_weight": 0.5},
    },
    "k2": {"blocks": {"size": 2}},
    "k2_lora": {"blocks": {"size": 2}, "lora": LORA},
    "k3_weighted": {"blocks": {"size": 3, "encoder": "weighted_mean"}},
    "k2_mean_lora": {"blocks": {"size": 2, "encoder": "mean"}, "lora": LORA},
    "k2_transformer": {"blocks": {"encoder": "transformer", "reconstruction": {"lora": "absent"}}, "lora": LORA},
    "k2_first_layers": {"blocks": {"encoder": "first_layers", "layers": 1}, "lora": LORA},
    "k2_pca_lora": {"blocks": {"encoder": "pca", "code_width": 6}, "lora": LORA},
}
CONTROLS = {
    "k1_mean": {"blocks": {"size": 1, "encoder": "mean"}},
    "text": {"input": "text"},
}
TRAINED = {"k2_taught": "blocks", "k2": "blocks", "k2_lora": "both", "k3_weighted": "blocks"}
TRAINED |= {"k2_mean_lora": "lora", "k2_transformer": "both", "k2_first_layers": "both", "k2_pca_lora": "both"}


@pytest.fixture(scope="module")
def run(folder):
    made = experiment(
        folder,
        input="blocks",
        blocks={"hidden": 16, "reconstruction": {"passages": 12, "batch_size": 4, "modes": list(MODES)}},
        baseline="k2",
        supervision={"ce_weight": 1.0},
        training={"epochs": 4, "batch_size": 4, "adapter_lr": 0.01, "lora_lr": 0.05},
        arms=ARMS,
        controls=CONTROLS,
    )
    records = run_sweep(made, folder / "blocks", controls="all")
    assert {record.name: record.error for record in records if record.status != "done"} == {}
    return folder / "blocks"


@pytest.mark.parametrize("name", ARMS)
def test_what_is_trained_is_saved_and_gives_the_same_answers_again(name, run, folder):
    record = read_arm_record(run / name)
    own = record.done.trainable_parameters
    assert (own.adapter > 0, own.lora > 0) == (TRAINED[name] != "lora", TRAINED[name] != "blocks")
    losses = [row["loss"] for row in lines(run / name / "diagnostics.jsonl") if row["event"] == "step"]
    half = len(losses) // 2
    assert sum(losses[half:]) < sum(losses[:half])
    files = {path.name for path in (run / name / "checkpoint").iterdir()}
    assert ("block_encoder.safetensors" in files) == (TRAINED[name] != "lora")
    metrics, answers = evaluate(run / name, folder / "test.json")
    assert metrics == record.done.test
    assert answers == {row["id"]: row["text"] for row in lines(run / name / "predictions.jsonl")}


def test_prompts_take_fewer_positions_and_blocks_of_one_token_read_what_text_reads(run):
    sizes = {name: read_arm_record(run / name).done.prompts for name in ARMS}
    one, text = (read_arm_record(run / "controls" / name).done for name in CONTROLS)
    assert one.prompts.positions == one.prompts.tokens == text.prompts.positions == sizes["k2"].tokens
    assert sizes["k3_weighted"].positions < sizes["k2"].positions < sizes["k2"].tokens
    rows = [lines(run / "controls" / name / "predictions.jsonl") for name in CONTROLS]
    assert [row["raw_text"] for row in rows[0]] == [row["raw_text"] for row in rows[1]]


def test_records_and_reports_say_what_is_saved(run):
    record, text = read_arm_record(run / "k2_lora"), read_arm_record(run / "controls" / "text")
    assert record.done.model_shape == text.done.model_shape
    assert record.done.model_shape.num_layers == 2
    assert record.done.prompts.encoder_flops > text.done.prompts.encoder_flops == 0
    # The selection after the last epoch makes the embeddings that the test of that epoch is answered with.
    made_before = record.done.training.best_epoch == 2
    assert (record.done.seconds_embeddings > 0) == made_before
    assert text.done.seconds_embeddings == 0
    rows = json.loads((run / "analysis.json").read_text())["rows"]
    costs = {row["name"]: row["prompt_costs"] for row in rows}
    assert costs["k3_weighted"]["prefill_flops"] < costs["k2"]["prefill_flops"] < costs["text"]["prefill_flops"]
    done = record.done
    assert costs["k2_lora"]["seconds"] == pytest.approx(done.seconds_test + done.seconds_embeddings)
    assert "What fewer positions save" in (run / "report.html").read_text()


@pytest.mark.parametrize("name", ARMS)
def test_such_an_arm_is_a_language_model_that_gives_the_same_answers(name, run, folder):
    rows = lines(run / name / "predictions.jsonl")
    contexts = {one.id: one.context for one in load_questions(str(folder / "test.json"), "test", "refuse")}
    lm = CompressedLM.from_run(run / name, device="cpu")
    asked = [(contexts[row["id"]], row["question"]) for row in rows]
    assert lm.answer(asked) == [row["text"] for row in rows]
    assert lm.answer(asked[::-1][:2]) == [row["text"] for row in rows[::-1][:2]]
    # Outside a context, texts stay tokens: here, a byte each.
    (embeddings,) = lm.embed(["abcd"], chat=False)
    assert torch.equal(embeddings, lm.lm.embedding_matrix[lm.tokenizer("abcd")["input_ids"]])
    assert len(lm.generate(["abcd"], max_new_tokens=3)) == 1


def test_such_an_arm_cannot_teach(run):
    with pytest.raises(UsageError, match=r"reads blocks of tokens, .* so it cannot teach; choose an arm that reads"):
        check_has_matrix(run / "k2", find_arm(run / "k2", device="cpu").config)


def test_blocks_without_supervision_are_refused():
    with pytest.raises(UsageError, match="nothing would train the encoder"):
        build(ArmConfig, {"input": "blocks", "supervision": {"ce_weight": 0}}, where="arms.a")
    with pytest.raises(UsageError, match="blocks are made of contexts"):
        build(ArmConfig, {"input": "blocks", "context": False}, where="arms.a")


def test_a_teacher_that_reads_text_is_told_apart_from_answers(run):
    steps = [row for row in lines(run / "k2_taught" / "diagnostics.jsonl") if row["event"] == "step"]
    assert all(row["loss"] == pytest.approx(row["kd"] + 0.5 * row["ce"], rel=1e-4) for row in steps)
    assert all(row["kd"] > 0 for row in steps)


def test_texts_without_questions_are_continued_out_of_blocks(folder):
    rows = {
        split: write_rows(folder / f"texts_{split}.jsonl", task_rows("perplexity", range(*numbers)))
        for split, numbers in (("train", (0, 18)), ("test", (30, 36)))
    }

    def made(**reconstruction):
        return experiment(
            folder,
            task="perplexity",
            data={
                "train": str(rows["train"]),
                "test": str(rows["test"]),
                "selection_articles": 2,
                "columns": {"question": None},
            },
            input="blocks",
            blocks={"hidden": 16, "reconstruction": {"passages": 4, **reconstruction}},
            baseline="k2",
            supervision={"ce_weight": 1.0},
            arms={"k2": {}},
            controls={},
        )

    (record,) = run_sweep(made(modes=["continuation"]), folder / "texts")
    assert record.error is None
    assert record.done.text_reconstruction.passages == 4  # as many as it learned from, of 6 that are held out
    with pytest.raises(UsageError, match=r"k2 would fail: prompts without a question .*modes=\[continuation\]"):
        run_sweep(made(), folder / "texts_repeated")
