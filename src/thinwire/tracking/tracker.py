"""What a tracker is told of a sweep, and the calls by which it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from thinwire.report.analysis_record import Analysis
from thinwire.results.arm_record import ArmRecord, Kind


@dataclass(frozen=True, kw_only=True)
class TrackedSweep:
    """The sweep that is reported."""

    name: str
    """The experiment's name."""
    folder: Path


@dataclass(frozen=True, kw_only=True)
class LoggedRow:
    """A line of an arm's diagnostics."""

    arm: str
    """The name of the training."""
    step: int
    """The optimiser step, from 1; an evaluation has that of the step before it, 0 where nothing is trained."""
    scalars: Mapping[str, float]
    """Values by tag, such as ``train/loss`` and ``selection/text_f1``; what the arm does not have is left out."""


@dataclass(frozen=True, kw_only=True)
class TrackedArm:
    """A training that begins, or goes on."""

    name: str
    """Of the training: the arm's, with the seed behind it where there are several."""
    kind: Kind
    started_at: str
    """When it was begun, ISO 8601; stays when it is resumed, and is another one if it starts again."""
    config: Mapping[str, Any]
    """The settings that its result depends on, as JSON."""
    rows: tuple[LoggedRow, ...] = ()
    """What was logged before, of an arm that is resumed."""


class Tracker(Protocol):
    """Reports a sweep to one place.

    All calls come from one thread, in the order in which things happen. Several arms may run at the same time. Any call
    may raise: the tracker is then called no more. Nothing may depend on what ``__init__`` got from a network, as it
    runs in the thread that trains.
    """

    def arm_started(self, arm: TrackedArm) -> None:
        """Begin a run for an arm, or go on with the run that it had; each of ``arm.rows`` must be there once."""

    def logged(self, row: LoggedRow) -> None:
        """Add a line of the diagnostics of an arm that has started."""

    def arm_ended(self, record: ArmRecord) -> None:
        """End the run of an arm that is done, has failed or was cancelled."""

    def sweep_ended(self, analysis: Analysis, reports: Sequence[Path]) -> None:
        """Add the verdict table and the files of the reports."""
