"""Whole sweeps of every task on the tiny model: what they write, and the same scores again from the saved arm."""

from statistics import fmean

import pytest

from task_rows import columns_of, task_rows, write_rows
from thinwire.experiment.sweep import run_sweep
from thinwire.results.arm_record import read_arm_record
from thinwire.results.read import read_results
from thinwire.tasks.table import TASKS
from tiny_models import save_tiny
from tiny_sweeps import evaluate, experiment, lines


@pytest.mark.parametrize("task", [name for name in TASKS if name != "extractive_qa"])
def test_a_sweep_of_each_task_is_scored_judged_and_evaluated_again(task, tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    save_tiny(tmp_path / "model")
    data = write_rows(tmp_path / "rows.jsonl", task_rows(task, range(18)))
    source = {
        "train": str(data),
        "test_articles": 2,
        "selection_articles": 1,
        "samples": 8,
        "columns": columns_of(task),
    }
    made = experiment(tmp_path, task=task, data=source, evaluation={"samples": 6, "selection_samples": 3})
    run = tmp_path / "run"
    run_sweep(made, run, controls="all")
    record, predictions = read_arm_record(run / "r2"), lines(run / "r2" / "predictions.jsonl")
    assert record.task is TASKS[task]
    assert record.done.test.score == pytest.approx(fmean(row["score"] for row in predictions))
    assert {row["stop_reason"] for row in predictions} <= {
        "decoding": {"end", "newline", "length"},
        "choice": {"choice"},
        "likelihood": {"likelihood"},
    }[TASKS[task].answered_by]
    assert (record.done.test.degeneration is None) == (TASKS[task].answered_by != "decoding")
    assert record.done.labels == (("even", "odd") if task == "classification" else None)
    selections = [row for row in lines(run / "r2" / "diagnostics.jsonl") if row.get("split") == "selection"]
    assert max(row[f"text_{TASKS[task].metric}"] for row in selections) == record.done.selection.score
    assert all(("text_em" in row) == TASKS[task].shows_exact_match for row in selections)
    # The saved arm gives its test answers again; the six test rows are among all.
    again, answers = evaluate(run / "r2", data, num=None, columns=made.data.columns)
    assert again.n == 18
    assert {row["id"]: answers[row["id"]] for row in predictions} == {row["id"]: row["text"] for row in predictions}
    assert read_results(run).sweep.verdict["marginal"] == TASKS[task].thresholds.marginal
    page = (run / "report.html").read_text()
    assert TASKS[task].label in page
