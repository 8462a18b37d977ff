"""Turn lines of diagnostics into scalars with tags, and an analysis into a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from thinwire.report.analysis_record import Analysis
from thinwire.results.arm_record import ArmRecord
from thinwire.tasks.task import Task
from thinwire.tracking.tracker import LoggedRow

_OTHER = re.compile(r"[^\w/.-]", re.ASCII)
"""What does not belong into a tag, by which trackers group."""
_NO_SCALARS = ("event", "step", "epoch", "split", "n", "degeneration")


def logged_row(arm: str, row: Mapping[str, Any], last_step: int) -> LoggedRow:
    """Return a line of diagnostics with its scalars.

    Args:
        last_step: the step of the line before, which an evaluation belongs to.
    """
    group = row.get("split", "train")
    numbers = {name: value for name, value in row.items() if name not in _NO_SCALARS and isinstance(value, int | float)}
    scalars = {_OTHER.sub("_", f"{group}/{name}"): float(value) for name, value in numbers.items()}
    return LoggedRow(arm=arm, step=row.get("step", last_step), scalars=scalars)


def logged_rows(arm: str, rows: Iterable[Mapping[str, Any]]) -> tuple[LoggedRow, ...]:
    """Return the lines of an arm's diagnostics with their scalars."""
    found: list[LoggedRow] = []
    for row in rows:
        found.append(logged_row(arm, row, found[-1].step if found else 0))
    return tuple(found)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted paths."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found.update(flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value})
    return found


def results_of(record: ArmRecord) -> dict[str, float]:
    """Return an arm's scores by name, fractions of 1; none if it is not done. The task's own score on the test
    questions has its own name: ``test_f1``."""
    if record.results is None:
        return {}
    selection, test, task = record.results.selection, record.results.test, record.task
    found = {
        "selection_score": selection.score,
        "selection_em": selection.exact_match,
        f"test_{task.metric}": test.score,
        "test_em": test.exact_match,
    }
    return {name: value for name, value in found.items() if task.shows_exact_match or not name.endswith("_em")}


_COLUMNS = (
    "name",
    "kind",
    "status",
    "chosen",
    "score",
    "em",
    "selection_score",
    "score_difference",
    "low",
    "high",
    "supported_tier",
    "trained_parameters",
)


def verdict_columns(task: Task) -> list[str]:
    """Return the names of the verdict table's columns; scores and differences in them are fractions of 1."""
    return [name for name in _COLUMNS if name != "em" or task.shows_exact_match]


def verdict_rows(analysis: Analysis) -> list[tuple[str | float | int | bool | None, ...]]:
    """Return the verdict table, with the columns ``verdict_columns``: a row for each arm and control."""
    found: list[tuple[str | float | int | bool | None, ...]] = []
    for row in analysis.rows:
        gain = row.score_difference
        ends = (gain.estimate, gain.low, gain.high) if gain else (None, None, None)
        scores = (row.score, row.em) if analysis.task.shows_exact_match else (row.score,)
        own = (row.name, row.kind, row.status, row.best, *scores, row.selection_score)
        found.append((*own, *ends, row.supported_tier, row.params))
    return found


def verdict_markdown(analysis: Analysis) -> str:
    """Return the verdict's sentence and its table as Markdown."""

    def cell(value: object) -> str:
        text = "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
        return text.replace("|", "\\|")

    columns = verdict_columns(analysis.task)
    lines = [columns, ["---"] * len(columns), *verdict_rows(analysis)]
    table = "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)
    return f"{analysis.verdict.headline}\n\n{analysis.verdict.sentence}\n\n{table}\n"
