"""Who holds a claim: a process, its machine and its scheduler's job, and how others tell that it is gone."""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

from thinwire.errors import UsageError
from thinwire.partial_files import host_name

_SECONDS_VARIABLE = "THINWIRE_CLAIM_SECONDS"
DEFAULT_SECONDS = 60.0
"""Seconds without a renewal after which the owner of a claim on another host is taken to be gone."""

_START_SECONDS = 2.0
"""How far two processes may be apart in the time at which a third one started: each has its own idea of when the
machine did."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A process that holds a claim, as its file says."""

    host: str
    machine: str
    """Host, running kernel and process namespace: where they are the same, process numbers mean the same."""
    process: int
    started: float | None
    """Unix time at which the process started, in seconds: numbers of processes are used again."""
    job: str | None
    """Job of a scheduler, which keeps its number when it is requeued."""
    restarts: int = 0
    """How often the job had been requeued."""
    device: str | None
    since: float
    """Unix time at which it took the claim, in seconds, by its own clock."""
    seconds: float
    """Seconds without a renewal after which it may be taken to be gone."""
    token: str
    """Tells this claim from every other: file systems use the numbers of files again."""
    attempt: int = 1
    """How many owners in succession have held the claim and gone without progress, itself included."""
    progress: int = 0
    """What was done of the work when the claim was taken, in units of the work."""
    steps: int = 0
    """Optimiser steps that were done of the work when the claim was taken, from which its rate is counted."""

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"process {self.process} on {self.host}{job}"


def this_process(*, device: str | None, attempt: int, progress: int, steps: int) -> Owner:
    """Describe this process as the owner of a new claim.

    Raises:
        UsageError: ``THINWIRE_CLAIM_SECONDS`` is no duration.
    """
    return Owner(
        host=host_name(),
        machine=machine(),
        process=os.getpid(),
        started=_started(os.getpid()),
        job=_job(),
        restarts=_restarts(),
        device=device,
        since=time.time(),
        seconds=claim_seconds(),
        token=secrets.token_hex(8),
        attempt=attempt,
        progress=progress,
        steps=steps,
    )


def content_of(owner: Owner) -> bytes:
    """Return what the file of its claim holds."""
    return json.dumps(asdict(owner)).encode()


def parsed_owner(content: bytes) -> Owner | None:
    """Return the owner of a claim by the content of its file; None if that is none."""
    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None


def is_gone(owner: Owner | None, age: float) -> bool:
    """Return whether an owner is gone: its process on this machine has ended, its job was requeued and runs this
    process, or it has not renewed its claim."""
    if owner is None:
        return age > claim_seconds()
    if owner.machine == machine():
        started = _started(owner.process)
        if started is None:
            return True
        # Another start may be a set clock's, so that the age counts too.
        is_other = owner.started is not None and abs(started - owner.started) > _START_SECONDS
        return is_other and age > owner.seconds
    if owner.job is not None and owner.job == _job() and owner.restarts < _restarts():
        return True
    return age > owner.seconds


def _started(process: int) -> float | None:
    """Return when a process of this machine started, as Unix time in seconds; None if there is none."""
    try:
        found = psutil.Process(process)
        return None if found.status() == psutil.STATUS_ZOMBIE else found.create_time()
    except psutil.NoSuchProcess:
        return None


def claim_seconds() -> float:
    """Return the seconds without a renewal after which the owner of a claim on another host is taken to be gone.

    Raises:
        UsageError: ``THINWIRE_CLAIM_SECONDS`` is no duration.
    """
    text = os.environ.get(_SECONDS_VARIABLE) or str(DEFAULT_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(
            f"{_SECONDS_VARIABLE}={text} is no number of seconds above 0; the default is {DEFAULT_SECONDS:.0f}"
        )
    return seconds


def _job() -> str | None:
    """Return the job that this process belongs to, of Slurm."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"slurm-{job}" if job else None


def _restarts() -> int:
    """Return how often Slurm has requeued this process's job. Only an earlier run of a job is over: a job of several
    nodes may have workers on each, as where Ray was started in it."""
    count = os.environ.get("SLURM_RESTART_COUNT", "")
    return int(count) if count.isdecimal() else 0  # Slurm sets it once a job has been requeued


def machine() -> str:
    """Return what identifies the host, its running kernel and the process namespace, as far as they are known."""
    return f"{host_name()}/{_kernel()}"


@cache
def _kernel() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM):
            raise
        return "unknown"
