"""Questions of every task made out of the real SQuAD, and read as the experiments of the tasks say."""

import importlib.util
from pathlib import Path

import pytest

from thinwire.cache import cache_dir
from thinwire.config.load import load_experiment
from thinwire.config.settings import EvaluationConfig
from thinwire.data.splits import Splits
from thinwire.tasks.table import TASKS

ROOT = Path(__file__).parents[2]
MADE = [name for name in TASKS if name != "extractive_qa"]

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(not (cache_dir() / "assets" / "squad").is_dir(), reason="run `thinwire fetch` for SQuAD"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("task_data", ROOT / "scripts" / "task_data.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    program.ROWS = 2_000
    target = tmp_path_factory.mktemp("task_data")
    program.main(target)
    return target


@pytest.mark.parametrize("task", MADE)
def test_the_made_questions_fit_their_task(task, folder):
    experiment = load_experiment(
        ROOT / "experiments" / "tasks" / f"{task}.yaml",
        [f"data.{split}={folder / f'{task}_{split}.jsonl'}" for split in ("train", "test")],
    )
    drawn = Splits(experiment.data, 0, TASKS[task]).drawn(EvaluationConfig(samples=100, selection_samples=20))
    assert (len(drawn.selection), len(drawn.test)) == (20, 100)
    assert len(drawn.train) >= 1_000
    if task == "multiple_choice":
        assert all(one.answers[0] in one.choices and len(set(one.choices)) == 4 for one in drawn.test)
        places = [one.choices.index(one.answers[0]) for one in drawn.train]
        assert max(places.count(place) for place in range(4)) < 0.35 * len(places), "the right one stands anywhere"
    if task == "classification":
        assert {one.choices for one in drawn.test} == {("no", "yes")}
        assert 0.4 < sum(one.answers == ("yes",) for one in drawn.train) / len(drawn.train) < 0.6
    if task == "perplexity":
        assert all(one.question == "" and one.context and one.answers[0] not in one.context for one in drawn.test)
