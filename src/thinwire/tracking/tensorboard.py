"""Event files for TensorBoard: in ``tensorboard/`` of the sweep's folder, a folder for each arm."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import scalar, text

from thinwire.report.analysis_record import Analysis
from thinwire.results.arm_record import ArmRecord
from thinwire.tracking.rows import verdict_markdown
from thinwire.tracking.tracker import LoggedRow, TrackedArm, TrackedSweep

FOLDER = "tensorboard"


class TensorBoardTracker:
    """Writes scalars, settings and the verdict table as TensorBoard reads them, each at once."""

    def __init__(self, sweep: TrackedSweep) -> None:
        self._folder = sweep.folder / FOLDER
        self._files: dict[str, _EventFile] = {}

    def arm_started(self, arm: TrackedArm) -> None:
        file = self._files[arm.name] = _EventFile(self._folder / arm.name)
        file.write(0, text("config", f"```json\n{json.dumps(arm.config, indent=2)}\n```"))
        for row in arm.rows:
            self.logged(row)

    def logged(self, row: LoggedRow) -> None:
        for tag, value in row.scalars.items():
            self._files[row.arm].write(row.step, scalar(tag, value))
        self._files[row.arm].flush()

    def arm_ended(self, record: ArmRecord) -> None:
        self._files.pop(record.name).close()

    def sweep_ended(self, analysis: Analysis, reports: Sequence[Path]) -> None:
        """Write the verdict table; TensorBoard has no place for files, which stay where they are."""
        file = _EventFile(self._folder)
        file.write(0, text("verdict", verdict_markdown(analysis)))
        file.close()


class _EventFile:
    """The only event file of a folder: what an interrupted run left there is written anew, so that it is there once.

    The package's own ``SummaryWriter`` writes in a thread, whose errors cannot be caught here.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for earlier in folder.glob("events.out.tfevents.*"):
            earlier.unlink()
        started = time.time()
        self._file: BinaryIO = (folder / f"events.out.tfevents.{started:.0f}").open("wb")
        self._writer = RecordWriter(self._file)
        self._add(Event(wall_time=started, file_version="brain.Event:2"))
        # A TensorBoard that is open drops what it has read from a file that was here.
        self._add(Event(wall_time=started, step=0, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def write(self, step: int, summary: Any) -> None:
        self._add(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _add(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())
