"""What the workers of a run do: read from its folder, from any host, also while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from thinwire.claim_files import Seen
from thinwire.claim_owners import Owner
from thinwire.config.experiment import Experiment
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment.group_queue import GroupQueue, claim_name, read_queue
from thinwire.experiment.outcome import Outcome, is_at_work, outcome_of
from thinwire.experiment.plan import Planned, plan
from thinwire.experiment.request import has_request, read_request
from thinwire.experiment.run_claims import RunClaims
from thinwire.experiment.search import with_choices
from thinwire.progress import clock
from thinwire.reading import read_text
from thinwire.results.arm_record import ArmRecord, has_arm_record, read_arm_record
from thinwire.results.experiment_file import has_experiment_file, read_experiment_file
from thinwire.results.layout import DIAGNOSTICS_FILE, EXPERIMENT_FILE, SEARCH_FOLDER, arm_folder
from thinwire.results.search_record import read_search_record
from thinwire.results.sweep_header import SweepHeader, has_header, read_header
from thinwire.schema import build
from thinwire.tasks.table import TASKS

State = Literal["done", "failed", "running", "lost", "stopped", "waiting"]
"""``lost``: the worker that ran it is gone, and another will go on; ``stopped``: interrupted, or its worker is gone and
no other one is at work, so that ``--resume`` goes on."""


@dataclass(frozen=True, kw_only=True)
class ArmStatus:
    """One run of an arm or control."""

    name: str
    kind: str
    state: State
    score: float | None = None
    """Score on the test questions, from 0 to 1; None unless it is done."""
    step: int = 0
    """Optimiser steps that it has done."""
    steps: int = 0
    """Optimiser steps that it has in all; 0 if it does not train."""
    host: str | None = None
    """Where it runs or ran last; None if no worker has claimed it."""
    process: int | None = None
    job: str | None = None
    device: str | None = None
    heartbeat: float | None = None
    """Seconds since its worker was last heard of."""
    error: str | None = None
    """Why it failed."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """The runs of a sweep, in the order planned."""

    name: str
    folder: str
    arms: list[ArmStatus]
    seconds_left: float | None
    """Estimated from the steps that are left and the rate of the workers; None if none has shown one yet."""
    is_finished: bool
    """Whether all runs are done or have failed, and the sweep has written that it is over."""
    outcome: Outcome | None = None
    """Why nothing more happens by itself; None while something may."""
    search: RunStatus | None = None
    """Of the search of settings that comes before; None if there is none."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def count(self, *states: State) -> int:
        """Return how many runs are in one of ``states``."""
        return sum(arm.state in states for arm in self.arms)


def read_status(folder: Path) -> RunStatus:
    """Read what the workers of the run in ``folder`` do; nothing is changed.

    Raises:
        UsageError: it is no sweep's folder.
        ThinwireError: a file in it is damaged.
    """
    if not has_header(folder) or not has_experiment_file(folder):
        if not has_request(folder):
            raise UsageError(f"{folder} is no sweep's folder")
        return _unprepared(folder)
    search, at_work = folder / SEARCH_FOLDER, is_at_work(folder)
    found = _read(folder, at_work)
    outcome = outcome_of(folder, is_finished=found.is_finished, is_at_work=at_work)
    return replace(found, outcome=outcome, search=_read(search, at_work) if has_header(search) else None)


def name_of_score(folder: Path) -> str:
    """Return what tables call the score of the run in ``folder``.

    Raises:
        UsageError: as ``read_status``.
        ThinwireError: as ``read_status``.
    """
    # Before the first worker has prepared it, a run has no header.
    task = read_header(folder).task if has_header(folder) else read_request(folder).experiment.task
    return TASKS[task].label


def _unprepared(folder: Path) -> RunStatus:
    """Return the status of a run whose first worker has not prepared it yet."""
    request = read_request(folder)
    arms = [ArmStatus(name=run.name, kind=run.kind, state="waiting") for run in request.planned]
    name = request.experiment.name
    outcome = outcome_of(folder, is_finished=False, is_at_work=is_at_work(folder))
    return RunStatus(name=name, folder=str(folder), arms=arms, seconds_left=None, is_finished=False, outcome=outcome)


def _read(folder: Path, at_work: bool) -> RunStatus:
    header, queue = read_header(folder), read_queue(folder)
    runs = _runs(folder, header, queue)
    seen = {one.name: one for one in RunClaims(folder).seen()}
    claims: dict[str, Seen] = {}
    for names in queue.groups if queue else ():
        if (claim := seen.get(claim_name(names))) is not None:
            claims |= dict.fromkeys(names, claim)
    arms = [_arm(run, folder, header, claims.get(run.name), at_work) for run in runs]
    have_ended = all(arm.state in ("done", "failed") for arm in arms)
    return RunStatus(
        name=header.name,
        folder=str(folder),
        arms=arms,
        seconds_left=_seconds_left(arms, claims),
        # The header is that of the session before until the first worker of this one has prepared the run.
        is_finished=header.finished_at is not None and have_ended,
    )


def _runs(folder: Path, header: SweepHeader, queue: GroupQueue | None) -> list[Planned]:
    """Return the runs of a sweep with the values that a search has chosen, those included that this session is asked
    for and that no worker has written into the header yet."""
    experiment = build(Experiment, read_experiment_file(folder), where=str(folder / EXPERIMENT_FILE))
    names = set(header.planned)
    if queue is None and has_request(folder):
        request = read_request(folder)
        experiment = request.experiment
        names |= {run.name for run in request.planned}
    runs = [run for run in plan(experiment, (), "all") if run.name in names]
    return with_choices(experiment, runs, read_search_record(folder))


def _arm(run: Planned, folder: Path, header: SweepHeader, claim: Seen | None, at_work: bool) -> ArmStatus:
    own = arm_folder(folder, run.name, run.kind)
    record = _record(own)
    owner = claim.owner if claim else None
    state: State
    if record is not None and record.status != "cancelled":
        state, owner, claim = ("done" if record.status == "done" else "failed"), None, None
    elif claim is not None:
        state = "running" if not claim.is_gone else "lost" if at_work else "stopped"
    else:
        state = "stopped" if own.exists() else "waiting"
    training, questions = run.config.training, header.training_questions or header.samples
    return ArmStatus(
        name=run.name,
        kind=run.kind,
        state=state,
        score=record.results.test.score if record and record.results else None,
        step=_steps_done(own),
        steps=training.epochs * training.steps_per_epoch(questions) if run.config.has_trainable else 0,
        host=owner.host if owner else None,
        process=owner.process if owner else None,
        job=owner.job if owner else None,
        device=owner.device if owner else None,
        heartbeat=claim.age if claim else None,
        error=record.error if record and state == "failed" else None,
    )


def _record(arm: Path) -> ArmRecord | None:
    try:
        return read_arm_record(arm) if has_arm_record(arm) else None
    except ThinwireError:
        if has_arm_record(arm):
            raise
        return None  # the arm has been begun again just now


def _steps_done(arm: Path) -> int:
    if not os.path.lexists(arm / DIAGNOSTICS_FILE):
        return 0
    try:
        return read_text(arm / DIAGNOSTICS_FILE).count('"event": "step"')
    except ThinwireError:  # it is being set aside, or written to
        return 0


def _seconds_left(arms: Sequence[ArmStatus], claims: dict[str, Seen]) -> float | None:
    """Estimate the time left, at the rate of the groups that run now; None without one."""
    rate = 0.0
    for claim in {one.name: one for one in claims.values() if one.owner and not one.is_gone}.values():
        owner: Owner | None = claim.owner
        assert owner is not None, "chosen above"
        step = sum(arm.step for arm in arms if arm.state == "running" and claims[arm.name].name == claim.name)
        passed = time.time() - owner.since
        if step > owner.steps and passed > 0:
            rate += (step - owner.steps) / passed
    left = sum(arm.steps - arm.step for arm in arms if arm.state not in ("done", "failed"))
    return left / rate if rate else None


def render_status(status: RunStatus, metric: str) -> Group:
    """Format a status for a terminal.

    Args:
        metric: name of the score.
    """
    parts: list[Any] = []
    if status.search is not None and not status.search.is_finished:
        parts.append(render_status(status.search, metric))
    table = Table(box=SIMPLE_HEAD)
    table.add_column("configuration", overflow="fold")
    table.add_column("state", no_wrap=True)
    for column in ("steps", metric):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("where", overflow="fold")
    table.add_column("heartbeat", justify="right", no_wrap=True)
    for arm in status.arms:
        name = arm.name if arm.kind == "arm" else f"control {arm.name}"
        steps = f"{arm.step:,}/{arm.steps:,}" if arm.steps else "-"
        score = "-" if arm.score is None else f"{100 * arm.score:.1f}"
        beat = "-" if arm.heartbeat is None else f"{max(0.0, arm.heartbeat):.0f} s ago"
        table.add_row(*map(escape, (name, arm.state, steps, score, _where(arm), beat)))
    counts = [
        f"{number} {state}"
        for state in ("failed", "running", "lost", "stopped", "waiting")
        if (number := status.count(state))
    ]
    left = f"; about {clock(status.seconds_left)} left" if status.seconds_left is not None and counts else ""
    done = f"{status.name}: {status.count('done')} of {len(status.arms)} done"
    parts += [escape(f"{', '.join([done, *counts])}{left}"), table]
    parts += [escape(f"{arm.name} failed: {arm.error}") for arm in status.arms if arm.error]
    if status.outcome in _NOTES:
        parts.append(_NOTES[status.outcome])
    return Group(*parts)


_NOTES: dict[Outcome | None, str] = {
    "cancelled": "It was cancelled, and no worker is at work; `thinwire sweep ... --resume` goes on.",
    "abandoned": "No worker is at work, and none is expected; `thinwire sweep ... --resume` goes on.",
}


def _where(arm: ArmStatus) -> str:
    if arm.host is None:
        return "-"
    others = [f"process {arm.process}", *([arm.job] if arm.job else []), *([arm.device] if arm.device else [])]
    return f"{arm.host} ({', '.join(others)})"
