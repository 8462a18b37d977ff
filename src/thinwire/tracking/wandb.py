"""Runs of Weights & Biases: one for each arm, and one for the report, in one group."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wandb

from thinwire.report.analysis_record import Analysis
from thinwire.results.arm_record import ArmRecord
from thinwire.tracking.marks import run_of_tracker
from thinwire.tracking.rows import results_of, verdict_columns, verdict_rows
from thinwire.tracking.tracker import LoggedRow, TrackedArm, TrackedSweep

_FINISH_SECONDS = 60.0
"""That a run has at its end to send what is left; later, ``wandb sync`` sends it."""


class WandbTracker:
    """Logs arms side by side; project, entity, mode and folder are those of the ``WANDB_`` variables."""

    def __init__(self, sweep: TrackedSweep) -> None:
        self._sweep = sweep
        wandb.setup(wandb.Settings(silent=True))  # or it would ask for a missing key on the terminal
        self._runs: dict[str, Any] = {}
        self._first_steps: dict[str, int] = {}

    def arm_started(self, arm: TrackedArm) -> None:
        run = self._runs[arm.name] = self._begin((arm.name, arm.started_at), arm.name, arm.kind, dict(arm.config))
        # A run that goes on has its earlier steps already, and refuses them; an offline one begins a new file.
        self._first_steps[arm.name] = run.step if run.resumed else 0
        for row in arm.rows:
            self.logged(row)

    def logged(self, row: LoggedRow) -> None:
        if row.step >= self._first_steps[row.arm]:
            self._runs[row.arm].log(dict(row.scalars), step=row.step)

    def arm_ended(self, record: ArmRecord) -> None:
        run = self._runs.pop(record.name)
        run.summary.update({**results_of(record), "status": record.status, "error": record.error})
        run.finish(exit_code=0 if record.status == "done" else 1)

    def sweep_ended(self, analysis: Analysis, reports: Sequence[Path]) -> None:
        run = self._begin(("report",), f"{self._sweep.name}: report", "report", {})
        data = [list(row) for row in verdict_rows(analysis)]
        run.log({"verdict": wandb.Table(columns=verdict_columns(analysis.task), data=data)})
        verdict = analysis.verdict
        run.summary.update({"headline": verdict.headline, "best": verdict.best, "tier": verdict.supported_tier})
        artifact = wandb.Artifact(f"report-{run.id}", type="report")
        for report in reports:
            artifact.add_file(str(report))
        run.log_artifact(artifact)
        run.finish(exit_code=0)

    def _begin(self, what: tuple[str, ...], name: str, kind: str, config: dict[str, Any]) -> Any:
        own = run_of_tracker(self._sweep.folder, "wandb", what, lambda: uuid.uuid4().hex[:12])
        # The group has an identifier behind its name: two sweeps of an experiment are two groups.
        group = run_of_tracker(self._sweep.folder, "wandb", ("group",), lambda: uuid.uuid4().hex[:6])
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "thinwire"),
            group=f"{self._sweep.name}-{group}",
            job_type=kind,
            name=name,
            id=own,
            resume="allow",
            config=config,
            dir=os.environ.get("WANDB_DIR") or str(self._sweep.folder),
            reinit="create_new",
            # No standard output, code or commit leaves this host.
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                disable_code=True,
                save_code=False,
                finish_timeout=_FINISH_SECONDS,
            ),
        )
