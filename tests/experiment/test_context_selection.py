"""A sweep whose arms read a share of each context: trained, recorded, and asked again with the same prompts."""

import pytest

from thinwire.api import CompressedLM
from thinwire.checkpoints.load import find_arm
from thinwire.data.sources import load_questions
from thinwire.experiment.sweep import run_sweep
from thinwire.results.arm_record import read_arm_record
from tiny_sweeps import LORA, evaluate, experiment, lines

HALF, BM25 = {"context_share": 0.5}, {"context_share": 0.5, "context_choice": "bm25"}
ARMS = {
    "whole": {"lora": LORA},
    "half": {"lora": LORA, "prompt": HALF},
    "bm25": {"lora": LORA, "prompt": BM25},
    "k2": {"input": "blocks", "blocks": {"size": 2, "hidden": 16}, "lora": LORA},
}


@pytest.fixture(scope="module")
def run(folder):
    made = experiment(
        folder,
        input="text",
        baseline="whole",
        supervision={"ce_weight": 1.0},
        training={"epochs": 1, "batch_size": 4, "adapter_lr": 0.01, "lora_lr": 0.05},
        arms=ARMS,
        controls={},
    )
    records = run_sweep(made, folder / "shares")
    assert {record.name: record.error for record in records if record.status != "done"} == {}
    return folder / "shares"


@pytest.mark.parametrize("name", ["half", "bm25"])
def test_an_arm_is_evaluated_with_the_contexts_that_it_was_trained_with(name, run, folder):
    record = read_arm_record(run / name)
    metrics, answers = evaluate(run / name, folder / "test.json")
    assert metrics == record.done.test
    assert answers == {row["id"]: row["text"] for row in lines(run / name / "predictions.jsonl")}
    assert find_arm(run / name).config.prompt.model_dump(exclude_defaults=True) == ARMS[name]["prompt"]


def test_it_is_asked_with_them_in_python_too(run, folder):
    rows = lines(run / "bm25" / "predictions.jsonl")
    contexts = {one.id: one.context for one in load_questions(str(folder / "test.json"), "test")}
    found = CompressedLM.from_run(run / "bm25", device="cpu")
    assert found.answer([(contexts[row["id"]], row["question"]) for row in rows]) == [row["text"] for row in rows]


def test_prompts_take_as_many_positions_as_those_in_blocks(run):
    whole, half, bm25, k2 = (read_arm_record(run / name).done.prompts for name in ARMS)
    assert half.positions == bm25.positions == k2.positions < whole.positions
    assert k2.tokens == whole.tokens > half.tokens


def test_arms_with_other_shares_are_arms_of_their_own(folder):
    arms = [experiment(folder, arms=ARMS, baseline="whole").arm(name) for name in ("whole", "half", "bm25")]
    assert len({str(arm.identity()) for arm in arms}) == 3
