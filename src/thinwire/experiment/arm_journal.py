"""Write the files of an arm while it runs, and its record at the end."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from thinwire.claims import ClaimLostError
from thinwire.errors import StorageError
from thinwire.experiment.plan import Planned
from thinwire.experiment.resume import block_formulas, forget_end
from thinwire.experiment.resume_points import state_name
from thinwire.files import append_jsonl, remove_file, remove_partial_files, sync, write_bytes, write_jsonl
from thinwire.hashes import content_hash
from thinwire.results.arm_record import (
    ArmRecord,
    ArmResults,
    Environment,
    ModelIdentity,
    QuestionHashes,
    ResumedRun,
    Scores,
    Status,
    TextReconstruction,
    create_arm_record,
    read_arm_record,
)
from thinwire.results.integrity import hashes_of_arm
from thinwire.results.layout import BATCHES_FILE, DIAGNOSTICS_FILE, PREDICTIONS_FILE, STATE_FILES
from thinwire.results.provenance import now
from thinwire.results.record import Record, read_record, write_record
from thinwire.storage_errors import writing
from thinwire.tasks.table import TASKS
from thinwire.tracking.trackers import Trackers
from thinwire.training.job import StepMetrics
from thinwire.training.state import Position, RunMetadata, TrainingState

logger = logging.getLogger(__name__)

Level = Literal["debug", "info", "warning", "error"]
Split = Literal["selection", "test"]


class _DecodingBatches(Record):
    """Most tokens of a decoding batch, as they were chosen for each split; other batches would round differently."""

    tokens: dict[Split, Annotated[int, Field(gt=0)]]


class ArmJournal:
    """Writes one arm's diagnostics, predictions, resume point and record.

    ``record`` is None until the arm has ended: done, failed or cancelled.
    """

    def __init__(
        self,
        planned: Planned,
        folder: Path,
        *,
        model: ModelIdentity,
        data: QuestionHashes,
        environment: Environment,
        resume_key: str,
        trackers: Trackers | None = None,
    ) -> None:
        """Write nothing yet.

        Args:
            resume_key: what must be the same to resume from the journal's resume points.
            trackers: told of the start, each line of the diagnostics and the end.
        """
        self.planned, self.folder = planned, folder
        self.record: ArmRecord | None = None
        self.seconds = 0.0
        """The arm's own time, plus its share of time spent together with other arms."""
        self.selections: list[Scores] = []
        self.text_reconstruction: TextReconstruction | None = None
        """What the arm had learned of texts before the questions, kept with its resume points."""
        self._model, self._data, self._environment, self._resume_key = model, data, environment, resume_key
        self._trackers, self._is_tracked = trackers, False
        self._started_at = now()
        self._resumed: tuple[ResumedRun, ...] = ()
        self._batches = _DecodingBatches(tokens={})
        self._bytes_after_step = 0
        """Length of the diagnostics after the last step or the last scored epoch that a resume point has."""
        self.log("info", "%s %s", planned.kind, planned.name)

    @property
    def name(self) -> str:
        """The name of the run, also of its folder."""
        return self.planned.name

    def resume(self) -> TrainingState | None:
        """Return to the resume point of an earlier run, and drop everything written after it.

        Its process may be about to write: to temporary files, which are removed, or to the end of the diagnostics,
        which are replaced.

        Returns:
            The training state to resume from; None if there is none.

        Raises:
            StorageError: the files cannot be changed.
            ThinwireError: one of them is damaged.
        """
        if self.planned.resume_point is None:
            return None
        remove_partial_files(self.folder)
        forget_end(self.folder)
        state, run = TrainingState.load(self.planned.resume_point.file)
        diagnostics = self.folder / DIAGNOSTICS_FILE
        with writing(diagnostics):
            kept = diagnostics.read_bytes()[: run.diagnostics_bytes]
        write_bytes(diagnostics, kept)
        self.selections, self.seconds = list(run.selections), run.seconds
        self._started_at, self._resumed = run.started_at, run.runs
        self.text_reconstruction = run.text_reconstruction
        self._bytes_after_step = run.diagnostics_bytes
        if os.path.lexists(batches := self.folder / BATCHES_FILE):
            self._batches = read_record(_DecodingBatches, batches, "record of decoding batches", self.folder)
        self.log("info", "%s: going on after epoch %d, step %d", self.name, state.epoch, state.step)
        return state

    def report_start(self) -> None:
        """Tell the trackers that the arm starts, or goes on after what its diagnostics hold; after ``resume``."""
        if self._trackers and not self._is_tracked:
            self._is_tracked, config = True, self.planned.config.identity()
            self._trackers.arm_started(self.name, self.planned.kind, self.folder, config, self._started_at)

    def batch_tokens(self, split: Split, choose: Callable[[], int]) -> int:
        """Return the most tokens of a batch in decoding ``split``.

        Args:
            choose: called where none were chosen yet, also before the arm was interrupted; the free memory, and so the
                choice, may be another now.

        Raises:
            StorageError: the choice cannot be written.
        """
        if split not in self._batches.tokens:
            self._batches = _DecodingBatches(tokens={**self._batches.tokens, split: choose()})
            write_record(self.folder / BATCHES_FILE, self._batches)
        return self._batches.tokens[split]

    def write_step(self, metrics: StepMetrics) -> None:
        """Append the metrics of an optimiser step to the diagnostics."""
        self._write_diagnostics({"event": "step", **metrics.as_dict()})
        self._bytes_after_step = self._diagnostics_bytes()

    def write_selection(self, epoch: int, scores: Scores) -> None:
        """Append the selection scores of an epoch to the diagnostics."""
        # Only these lines have `text_f1`: its largest value in this file is the score by which arms are chosen.
        self._write_evaluation("selection", "text", epoch, scores)
        self.selections.append(scores)

    def write_test(self, epoch: int, scores: Scores, predictions: Iterable[dict[str, Any]]) -> None:
        """Write the answers to the test questions, and append their scores to the diagnostics."""
        self._write_evaluation("test", "test", epoch, scores)
        write_jsonl(self.folder / PREDICTIONS_FILE, predictions)

    def _write_evaluation(self, split: str, prefix: str, epoch: int, scores: Scores) -> None:
        task = TASKS[self.planned.config.task]
        line = {"event": "evaluation", "split": split, "epoch": epoch, "n": scores.n}
        line |= {f"{prefix}_{task.metric}": scores.score}
        if task.shows_exact_match:
            line |= {f"{prefix}_em": scores.exact_match}
        if scores.degeneration is not None:
            line |= {"degeneration": scores.degeneration.model_dump()}
        self._write_diagnostics(line)

    def _write_diagnostics(self, row: dict[str, Any]) -> None:
        append_jsonl(self.folder / DIAGNOSTICS_FILE, row)
        if self._trackers and self._is_tracked:
            self._trackers.logged(self.name, row)

    def _diagnostics_bytes(self) -> int:
        path = self.folder / DIAGNOSTICS_FILE
        return path.stat().st_size if path.exists() else 0

    def write_state(self, state: TrainingState) -> Path:
        """Write a resume point, and return its file; it counts when its group's are committed.

        Raises:
            StorageError: it cannot be written.
        """
        if len(self.selections) == state.epoch:  # else the epoch is being scored, and will be scored anew
            self._bytes_after_step = self._diagnostics_bytes()
        if self._bytes_after_step:
            with writing(self.folder / DIAGNOSTICS_FILE):
                sync(self.folder / DIAGNOSTICS_FILE)  # on disk before what refers to it
        run = RunMetadata(
            diagnostics_bytes=self._bytes_after_step,
            selections=tuple(self.selections[: state.epoch]),
            seconds=self.seconds,
            started_at=self._started_at,
            runs=(*self._resumed, ResumedRun(epoch=state.epoch, step=state.step, environment=self._environment)),
            text_reconstruction=self.text_reconstruction,
        )
        file = self.folder / state_name(Position(epoch=state.epoch, step=state.step))
        state.save(file, self._resume_key, run)
        return file

    def finish(self, results: ArmResults) -> None:
        """Record that the arm is done, and remove its resume points.

        Raises:
            StorageError: the record cannot be written, or a resume point not removed.
        """
        if self._diagnostics_bytes():
            with writing(self.folder / DIAGNOSTICS_FILE):
                sync(self.folder / DIAGNOSTICS_FILE)
        self._end("done", None, results)
        self._remove_states()

    def fail(self, error: Exception, *, is_final: bool = False) -> None:
        """Record the error that ended the arm, unless it has already ended.

        Args:
            is_final: the error would come again from the resume point, so that is removed.
        """
        if self.record is None:
            self.log("error", "%s failed: %s", self.name, error)
            self.log("debug", "%s", "".join(traceback.format_exception(error)))
            self._end("failed", f"{type(error).__name__}: {error}")
            if is_final:
                self._remove_states()

    def _remove_states(self) -> None:
        for state in self.folder.glob(STATE_FILES):
            remove_file(state)
        remove_file(self.folder / BATCHES_FILE)

    def cancel(self, error: BaseException) -> None:
        """Record that the arm was interrupted by ``error``, unless it has already ended; on a full disk, or if another
        process has taken it, do not."""
        if self.record is None:
            with suppress(ClaimLostError, StorageError):
                self._end("cancelled", str(error) or "interrupted")

    def _end(self, status: Status, error: str | None, results: ArmResults | None = None) -> None:
        config = self.planned.config.identity()
        record = ArmRecord(
            name=self.planned.name,
            arm=self.planned.arm,
            kind=self.planned.kind,
            status=status,
            error=error,
            config=config,
            config_hash=content_hash(config),
            environment=self._environment,
            model=self._model,
            data=self._data,
            block_formulas=block_formulas(self.planned.config),
            started_at=self._started_at,
            finished_at=now(),
            resumed=self._resumed,
            seconds_total=self.seconds,
            results=results,
            files=hashes_of_arm(self.folder) if results else None,
        )
        self.report_start()  # of an arm that has failed before it began
        try:
            create_arm_record(self.folder, record)
            if self._trackers:
                self._trackers.arm_ended(record)
        except FileExistsError:
            record = read_arm_record(self.folder)
            self.log(
                "warning",
                "%s was recorded by another worker (%s); what was done here is dropped",
                self.name,
                record.status,
            )
        self.record = record

    def log(self, level: Level, message: str, *values: object) -> None:
        """Log a message with the arm's name, so that each arm of a group has its own log."""
        getattr(logger, level)(message, *values, extra={"arm": self.name})
