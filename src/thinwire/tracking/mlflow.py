"""Runs of MLflow: a parent for the sweep, and a nested run for each arm."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from mlflow import get_tracking_uri
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from thinwire.report.analysis_record import Analysis
from thinwire.results.arm_record import ArmRecord
from thinwire.tracking.marks import run_of_tracker
from thinwire.tracking.rows import flat, results_of, verdict_columns, verdict_markdown, verdict_rows
from thinwire.tracking.tracker import LoggedRow, TrackedArm, TrackedSweep

_STATUS = {"done": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
_MOST_PARAMS, _LONGEST_PARAM = 100, 6000
"""That MLflow takes in one request, and characters of a value."""


class MlflowTracker:
    """Logs to ``MLFLOW_TRACKING_URI``; the experiment is ``MLFLOW_EXPERIMENT_NAME``, else that of the sweep's name."""

    def __init__(self, sweep: TrackedSweep) -> None:
        self._sweep = sweep
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):  # whose attempts would be a line each
            logging.getLogger(name).setLevel(logging.ERROR)
        self._client = MlflowClient()
        # A folder that is reported to another server has other runs there.
        self._key = f"mlflow-{sha256(get_tracking_uri().encode()).hexdigest()[:8]}"
        self._runs: dict[str, str] = {}
        self._known: dict[str, set[tuple[str, int]]] = {}

    def arm_started(self, arm: TrackedArm) -> None:
        tags = {MLFLOW_PARENT_RUN_ID: self._parent(), "thinwire.kind": arm.kind}
        run = self._runs[arm.name] = self._run((arm.name, arm.started_at), arm.name, tags)
        known = self._known[arm.name] = set()
        found = self._client.get_run(run).data
        for tag in found.metrics:
            known.update((tag, metric.step) for metric in self._client.get_metric_history(run, tag))
        self._client.update_run(run, status="RUNNING")
        params = [
            Param(name, value[:_LONGEST_PARAM])
            for name, setting in flat(arm.config).items()
            if (value := setting if isinstance(setting, str) else json.dumps(setting)) and name not in found.params
        ]
        for start in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(run, params=params[start : start + _MOST_PARAMS])
        self._client.log_dict(run, dict(arm.config), "config.json")
        for row in arm.rows:
            self.logged(row)

    def logged(self, row: LoggedRow) -> None:
        known, now = self._known[row.arm], int(1000 * time.time())
        new = {tag: value for tag, value in row.scalars.items() if (tag, row.step) not in known}
        self._client.log_batch(self._runs[row.arm], [Metric(tag, new[tag], now, row.step) for tag in new])

    def arm_ended(self, record: ArmRecord) -> None:
        run = self._runs.pop(record.name)
        for name, value in results_of(record).items():
            self._client.set_tag(run, f"thinwire.{name}", f"{value:.4f}")
        if record.error is not None:
            self._client.set_tag(run, "thinwire.error", record.error)
        self._client.set_terminated(run, _STATUS[record.status])

    def sweep_ended(self, analysis: Analysis, reports: Sequence[Path]) -> None:
        parent, verdict = self._parent(), analysis.verdict
        for name, value in {"headline": verdict.headline, "best": verdict.best, "tier": verdict.supported_tier}.items():
            self._client.set_tag(parent, f"thinwire.{name}", str(value))
        columns = verdict_columns(analysis.task)
        rows = [dict(zip(columns, row, strict=True)) for row in verdict_rows(analysis)]
        self._client.log_dict(parent, {"rows": rows}, "verdict.json")
        self._client.log_text(parent, verdict_markdown(analysis), "verdict.md")
        for report in reports:
            self._client.log_artifact(parent, str(report))
        self._client.set_terminated(parent, "FINISHED")

    def _parent(self) -> str:
        return self._run(("sweep",), self._sweep.folder.name, {})

    def _run(self, what: tuple[str, ...], name: str, tags: dict[str, str]) -> str:
        """Return the run of ``what``, which is made if there is none."""
        made: list[str] = []

        def make() -> str:
            tagged = {**tags, MLFLOW_RUN_NAME: name}
            made.append(self._client.create_run(self._experiment(), tags=tagged).info.run_id)
            return made[0]

        taken = run_of_tracker(self._sweep.folder, self._key, what, make)
        for other in made:
            if other != taken:  # another worker was faster
                self._client.delete_run(other)
        return taken

    def _experiment(self) -> str:
        if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return given
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", self._sweep.name)
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another worker has made it just now
            if found := self._client.get_experiment_by_name(name):
                return str(found.experiment_id)
            raise
