"""Write the files of an arm while it runs, and its record at the end."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError

from thinwire.experiment.plan import Planned
from thinwire.files import append_jsonl, content_hash, write_jsonl
from thinwire.results.arm_record import (
    ArmRecord,
    ArmResults,
    Environment,
    ModelIdentity,
    QuestionHashes,
    ResumedRun,
    Scores,
    Status,
    write_arm_record,
)
from thinwire.results.integrity import hashes_of_arm
from thinwire.results.layout import DIAGNOSTICS_FILE, PREDICTIONS_FILE, RECORD_FILE, STATE_FILE
from thinwire.results.provenance import now
from thinwire.training.job import StepMetrics
from thinwire.training.state import RunMetadata, TrainingState

logger = logging.getLogger(__name__)

Level = Literal["debug", "info", "warning", "error"]


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
    ) -> None:
        self.planned, self.folder = planned, folder
        self.record: ArmRecord | None = None
        self.seconds = 0.0
        """The arm's own time, plus its share of time spent together with other arms."""
        self.selections: list[Scores] = []
        self._model, self._data, self._environment, self._resume_key = model, data, environment, resume_key
        self._started_at = now()
        self._resumed: tuple[ResumedRun, ...] = ()
        self.log("info", "%s %s", planned.kind, planned.name)

    @property
    def name(self) -> str:
        """The name of the run, also of its folder."""
        return self.planned.name

    def resume(self) -> TrainingState | None:
        """Return to the last complete epoch of an earlier run, and drop everything written after it.

        Returns:
            The training state to resume from; None if there is none.
        """
        if not self.planned.epochs_done:
            return None
        state, run = TrainingState.load(self.folder / STATE_FILE)
        os.truncate(self.folder / DIAGNOSTICS_FILE, run.diagnostics_bytes)
        (self.folder / RECORD_FILE).unlink(missing_ok=True)  # the record of how the earlier run ended
        self.selections, self.seconds = list(run.selections), run.seconds
        self._started_at, self._resumed = run.started_at, run.runs
        self.log("info", "%s: going on after epoch %d", self.name, self.planned.epochs_done)
        return state

    def write_step(self, metrics: StepMetrics) -> None:
        """Append the metrics of an optimiser step to the diagnostics."""
        append_jsonl(self.folder / DIAGNOSTICS_FILE, {"event": "step", **metrics.as_dict()})

    def write_selection(self, epoch: int, scores: Scores) -> None:
        """Append the selection scores of an epoch to the diagnostics."""
        # Only these lines have `text_f1`: its largest value in this file is the score by which arms are chosen.
        self._write_evaluation("selection", epoch, scores, text_f1=scores.f1, text_em=scores.exact_match)
        self.selections.append(scores)

    def write_test(self, epoch: int, scores: Scores, predictions: Iterable[dict[str, Any]]) -> None:
        """Write the answers to the test questions, and append their scores to the diagnostics."""
        self._write_evaluation("test", epoch, scores, test_f1=scores.f1, test_em=scores.exact_match)
        write_jsonl(self.folder / PREDICTIONS_FILE, predictions)

    def _write_evaluation(self, split: str, epoch: int, scores: Scores, **named: float) -> None:
        line = {"event": "evaluation", "split": split, "epoch": epoch, "n": scores.n}
        degeneration = {"degeneration": scores.degeneration.model_dump()}
        append_jsonl(self.folder / DIAGNOSTICS_FILE, line | named | degeneration)

    def save_state(self, state: TrainingState) -> None:
        """Save the resume point of this epoch; if that fails, log a warning and go on."""
        run = RunMetadata(
            diagnostics_bytes=(self.folder / DIAGNOSTICS_FILE).stat().st_size,
            selections=tuple(self.selections),
            seconds=self.seconds,
            started_at=self._started_at,
            runs=(*self._resumed, ResumedRun(epoch=state.epoch, environment=self._environment)),
        )
        try:
            state.save(self.folder / STATE_FILE, self._resume_key, run)
        except (OSError, SafetensorError) as error:
            self.log("warning", "%s: epoch %d cannot be gone on from: %s", self.name, state.epoch, error)

    def finish(self, results: ArmResults) -> None:
        """Record that the arm is done, and remove its resume point."""
        self._end("done", None, results)
        (self.folder / STATE_FILE).unlink(missing_ok=True)
        for partial in self.folder.glob(f".{STATE_FILE}.*"):  # temporary files of a killed process
            partial.unlink()

    def fail(self, error: Exception) -> None:
        """Record the error that ended the arm, unless it has already ended."""
        if self.record is None:
            self.log("error", "%s failed: %s", self.name, error)
            self.log("debug", "%s", "".join(traceback.format_exception(error)))
            self._end("failed", f"{type(error).__name__}: {error}")

    def cancel(self) -> None:
        """Record that the arm was interrupted, unless it has already ended."""
        if self.record is None:
            self._end("cancelled", "interrupted")

    def _end(self, status: Status, error: str | None, results: ArmResults | None = None) -> None:
        config = self.planned.config.model_dump(mode="json")
        self.record = ArmRecord(
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
            started_at=self._started_at,
            finished_at=now(),
            resumed=self._resumed,
            seconds_total=self.seconds,
            results=results,
            files=hashes_of_arm(self.folder) if results else None,
        )
        write_arm_record(self.folder, self.record)

    def log(self, level: Level, message: str, *values: object) -> None:
        """Log a message with the arm's name, so that each arm of a group has its own log."""
        getattr(logger, level)(message, *values, extra={"arm": self.name})
