"""Read a sweep's folder: its header, its records and predictions, checked to belong together."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinwire.errors import ThinwireError, UsageError
from thinwire.results.arm_record import ArmRecord, Kind, has_arm_record, read_arm_record
from thinwire.results.layout import PREDICTIONS_FILE, SEARCH_FILE, SEARCH_FOLDER, arm_folder
from thinwire.results.rows import read_predictions
from thinwire.results.search_record import SearchRecord, read_search_record
from thinwire.results.sweep_header import SweepHeader, has_header, read_header

if TYPE_CHECKING:
    from thinwire.stats.pairing import Run

CEILING, TEXT, CODEC = "text_lora", "text_zero_shot", "codec_only"
"""Names of the controls that reports look for; each may be missing."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One training that is done: its record, and its predictions on the test questions."""

    record: ArmRecord
    predictions: list[dict[str, Any]]
    folder: Path

    @cached_property
    def score(self) -> Run:
        """Score of each test question."""
        return self._run("score")

    @cached_property
    def exact_match(self) -> Run:
        """Exact match of each test question."""
        return self._run("exact_match")

    def _run(self, metric: str) -> Run:
        from thinwire.stats.pairing import Run  # renderings import this module, but not numpy

        return Run.of_rows(self.predictions, metric)


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that a sweep left."""

    folder: Path
    sweep: SweepHeader
    arms: dict[str, list[Finished]]
    """Finished trainings by arm, one for each seed, in the order planned."""
    controls: dict[str, list[Finished]]
    """Finished controls by name, in the same form; those that do not train have one."""
    unfinished: list[ArmRecord]
    """Of what failed or was cancelled."""
    search: SearchRecord
    """The settings that were chosen for each arm on the selection split, if the sweep searched any."""

    @property
    def searched(self) -> list[str]:
        """Dotted paths of the settings that were searched, each arm having its own best values of them."""
        return list(dict.fromkeys(path for one in self.search.arms.values() for path in one.chosen or ()))

    @property
    def groups(self) -> dict[str, list[Finished]]:
        """Arms, then controls."""
        return {**self.arms, **self.controls}


def is_complete(run: Path) -> bool:
    """Whether every training that was planned has ended and some arm is done: a report can be made."""
    folders = [arm_folder(run, *item) for item in read_header(run).planned.items()]
    if not all(map(has_arm_record, folders)):
        return False
    return any(record.kind == "arm" and record.status == "done" for record in map(read_arm_record, folders))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Make nothing wait for Python's search for cycles, which passes all objects again and again while they become
    more; rows have no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_no_garbage_collection()
def read_results(run: Path) -> Results:
    """Read the folder of a finished sweep.

    Raises:
        UsageError: no sweep's folder, a sweep that has not ended, or records that do not belong together.
        ThinwireError: a file is missing, damaged, or not the one that its record tells of.
    """
    sweep = read_header(run)
    records: dict[Path, ArmRecord] = {}
    for name, kind in sweep.planned.items():
        folder = arm_folder(run, name, kind)
        if not has_arm_record(folder):
            raise UsageError(f"{run} is not finished: {name} has no record.json; continue it with --resume")
        records[folder] = read_arm_record(folder)
    done = {folder: record for folder, record in records.items() if record.status == "done"}
    if not any(record.kind == "arm" for record in done.values()):
        raise UsageError(f"{run} has no arm that is done, so there is nothing to report; see the training logs")
    _refuse_mixed(run, sweep, list(done.values()))
    if has_header(run / SEARCH_FOLDER) and not os.path.lexists(run / SEARCH_FILE):
        raise ThinwireError(
            f"{run / SEARCH_FILE} is missing, though {SEARCH_FOLDER}/ holds a search; --resume makes its choices again"
        )
    finished = [
        Finished(record=record, predictions=read_predictions(folder, record), folder=folder)
        for folder, record in done.items()
    ]
    _refuse_other_questions(finished)
    groups: dict[Kind, dict[str, list[Finished]]] = {"arm": {}, "control": {}}
    for one in finished:
        groups[one.record.kind].setdefault(one.record.arm, []).append(one)
    return Results(
        folder=run,
        sweep=sweep,
        arms=groups["arm"],
        controls=groups["control"],
        unfinished=[record for record in records.values() if record.status != "done"],
        search=read_search_record(run),
    )


def _refuse_mixed(run: Path, sweep: SweepHeader, records: Sequence[ArmRecord]) -> None:
    """Refuse results of two experiments side by side, which would be read as one."""
    first = records[0]
    for record in records:
        if record.model.revision != sweep.model.revision:
            raise UsageError(f"{run} is mixed: {record.name} used the model {record.model.name}, another one")
        for split in ("train", "test"):
            if getattr(record.data, split) != getattr(first.data, split):
                raise UsageError(f"{run} is mixed: {record.name} and {first.name} differ in {split} questions")
        made_by, swept_by = record.environment.thinwire, sweep.environment.thinwire
        if made_by != swept_by:
            raise UsageError(
                f"{run} is stale: {record.name} was made by thinwire {made_by}, the sweep by {swept_by}; "
                "run it anew into another folder"
            )


def _refuse_other_questions(finished: Sequence[Finished]) -> None:
    """Refuse answers to other questions than those of the first arm: gains are differences on the same ones."""
    asked = _questions(finished[0])
    for one in finished[1:]:
        theirs = _questions(one)
        if differing := sorted(id_ for id_ in asked.keys() | theirs.keys() if asked.get(id_) != theirs.get(id_)):
            raise ThinwireError(
                f"{one.folder / PREDICTIONS_FILE} answers other questions than {finished[0].record.name}: they differ "
                f"in {len(differing)}, first {differing[0]!r}"
            )


def _questions(one: Finished) -> dict[str, tuple[str, str, list[str]]]:
    return {row["id"]: (row["paragraph_id"], row["question"], row["golds"]) for row in one.predictions}
