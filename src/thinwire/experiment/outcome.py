"""Whether anything more happens in a run's folder by itself: what those who watch it wait for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from thinwire.experiment.executors.slurm_queue import is_in_queue
from thinwire.experiment.group_queue import read_queue
from thinwire.experiment.request import requested_at
from thinwire.experiment.run_claims import RunClaims, submitted_job
from thinwire.results.layout import SEARCH_FOLDER

Outcome = Literal["finished", "cancelled", "abandoned"]
"""``cancelled``: its workers were asked to stop and have stopped; ``abandoned``: it is unfinished, and no worker is at
work or expected."""

_ARRIVAL_SECONDS = 300.0
"""Seconds after a sweep was handed to a scheduler in which its first worker is expected: Ray places its actors, jobs
start Python and load the model."""


def is_at_work(folder: Path) -> bool:
    """Return whether a worker that is not gone is at work in a run, its search of settings included."""
    return any(RunClaims(own).live() for own in (folder, folder / SEARCH_FOLDER))


def outcome_of(folder: Path, *, is_finished: bool, is_at_work: bool) -> Outcome | None:
    """Return why nothing more happens in the folder of a run by itself; None while something may.

    Slurm is asked only where nothing else tells.
    """
    if is_finished:
        return "finished"
    if is_at_work:
        return None
    if RunClaims(folder).is_asked_to_stop():
        return "cancelled"
    job = submitted_job(folder)
    return None if (job and is_in_queue(job)) or _is_new(folder) else "abandoned"


def _is_new(folder: Path) -> bool:
    """Return whether workers were asked for not long ago, and none has prepared the run yet."""
    asked = requested_at(folder)
    return asked is not None and read_queue(folder) is None and time.time() - asked < _ARRIVAL_SECONDS
