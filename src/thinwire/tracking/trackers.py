"""All trackers of a sweep in this process, called as one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from thinwire.errors import ThinwireError
from thinwire.hashes import content_hash
from thinwire.reading import read_jsonl
from thinwire.report.analysis_record import Analysis
from thinwire.results.arm_record import ArmRecord, Kind
from thinwire.results.layout import DIAGNOSTICS_FILE
from thinwire.tracking.caller import TrackerCaller
from thinwire.tracking.marks import has_been_told, mark_told
from thinwire.tracking.rows import logged_row, logged_rows, verdict_rows
from thinwire.tracking.table import TRACKERS
from thinwire.tracking.tracker import TrackedArm, TrackedSweep, Tracker

logger = logging.getLogger(__name__)

_PATIENCE = 60.0
"""Seconds that a tracker has at the end of a sweep to take what is left."""


class Trackers:
    """Tells trackers what happens. Use it as a context manager: at its end they have been told all."""

    def __init__(
        self,
        names: Sequence[str],
        sweep: TrackedSweep,
        table: Mapping[str, Callable[[TrackedSweep], Tracker]] = TRACKERS,
    ) -> None:
        """Make the trackers ``names`` of ``table``; one that cannot be made is left out with a warning."""
        self._folder = sweep.folder
        self._callers = [TrackerCaller(name, partial(table[name], sweep)) for name in names]
        self._steps: dict[str, int] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._callers)

    def arm_started(self, name: str, kind: Kind, folder: Path, config: Mapping[str, Any], started_at: str) -> None:
        """Tell that a training begins, or goes on after what its diagnostics hold.

        Args:
            folder: the training's own.
            started_at: when it was begun, also before it was resumed.
        """
        if self._callers:
            self._start(self._callers, name, kind, folder, config, started_at)

    def _start(
        self,
        callers: Sequence[TrackerCaller],
        name: str,
        kind: Kind,
        folder: Path,
        config: Mapping[str, Any],
        started_at: str,
    ) -> None:
        path = folder / DIAGNOSTICS_FILE
        try:
            rows = logged_rows(name, read_jsonl(path) if path.exists() else [])
        except ThinwireError as error:  # no reason to fail where the arm does not
            logger.warning("trackers do not get what %s logged before: %s", name, error)
            rows = ()
        self._steps[name] = rows[-1].step if rows else 0
        arm = TrackedArm(name=name, kind=kind, config=config, started_at=started_at, rows=rows)
        for caller in callers:
            caller.call(lambda tracker: tracker.arm_started(arm))

    def logged(self, name: str, row: Mapping[str, Any]) -> None:
        """Tell a line of the diagnostics of a training that has started."""
        if self._callers:
            made = logged_row(name, row, self._steps[name])
            self._steps[name] = made.step
            for caller in self._callers:
                caller.call(lambda tracker: tracker.logged(made))

    def arm_ended(self, record: ArmRecord) -> None:
        """Tell that a training is done, has failed or was cancelled."""
        for caller in self._callers:
            self._end(caller, record)

    def arm_was_done(self, record: ArmRecord, folder: Path) -> None:
        """Tell of a training in ``folder`` that an earlier session has finished, where a tracker was not told then."""
        callers = [one for one in self._callers if not has_been_told(self._folder, one.name, *_end_of(record))]
        if callers:
            self._start(callers, record.name, record.kind, folder, record.config, record.started_at)
            for caller in callers:
                self._end(caller, record)

    def _end(self, caller: TrackerCaller, record: ArmRecord) -> None:
        def call(tracker: Tracker) -> None:
            tracker.arm_ended(record)
            if record.status == "done":
                mark_told(self._folder, caller.name, *_end_of(record))

        caller.call(call)

    def sweep_ended(self, analysis: Analysis, reports: Sequence[Path]) -> None:
        """Tell that the reports are written, to the trackers that have not been told the same results before."""
        results = content_hash(verdict_rows(analysis))
        for caller in self._callers:
            if not has_been_told(self._folder, caller.name, results):
                self._end_sweep(caller, analysis, reports, results)

    def _end_sweep(self, caller: TrackerCaller, analysis: Analysis, reports: Sequence[Path], results: str) -> None:
        def call(tracker: Tracker) -> None:
            tracker.sweep_ended(analysis, reports)
            mark_told(self._folder, caller.name, results)

        caller.call(call)

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        for caller in self._callers:
            caller.close(_PATIENCE)


def _end_of(record: ArmRecord) -> tuple[str, str]:
    return record.name, record.finished_at
