"""Claims: files by which processes, also of several hosts, agree on who does a piece of work.

A claim is created by one process alone and renewed while it is held, so that others see from its modification time that
its owner lives. Neither locks of the file system nor equal clocks are needed. A claim is advisory: an owner that was
suspended for longer than a claim lasts may find that another process has taken its work (``Claim.check``).
"""

from __future__ import annotations

import errno
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import psutil

from thinwire.errors import StorageError, ThinwireError, UsageError
from thinwire.files import host_name, make_folder, writing

logger = logging.getLogger(__name__)

_SECONDS_VARIABLE = "THINWIRE_CLAIM_SECONDS"
_SECONDS = 60.0
"""Seconds without a renewal after which the owner of a claim on another host is taken to be gone."""

_RENEWALS = 6
"""Renewals in that time."""

_START_SECONDS = 2.0
"""How far two processes may be apart in the time at which a third one started: each has its own idea of when the
machine did."""

_CHECK_SECONDS = 1.0
"""Between two looks at whether a claim is still held."""

_MOST_TRIES = 500

_PATIENCE = 2.0
"""Seconds of waiting for a claim before that is said."""


class ClaimLostError(ThinwireError):
    """Another process has taken a claim that was not renewed in time."""


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

    def __str__(self) -> str:
        job = f", job {self.job}" if self.job else ""
        return f"process {self.process} on {self.host}{job}"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A claim as another process sees it."""

    name: str
    owner: Owner | None
    """None if it cannot be read, as right after its creation."""
    age: float
    """Seconds since it was renewed, by the clock of the file system."""
    is_gone: bool
    """Whether its owner is gone."""
    content: bytes
    """Of the file."""


class Claim:
    """A claim that this process holds, until the end of its ``with`` block."""

    def __init__(self, path: Path, handle: int, owner: Owner) -> None:
        self.path, self.owner = path, owner
        self._handle = handle
        self._seen = self._renewed = _clock()

    def renew(self) -> None:
        """Say that this process lives.

        Raises:
            OSError: the file cannot be changed, as when a file server does not answer.
        """
        now = _clock()
        if self._is_held():
            os.utime(self._handle)
            self._renewed = now

    def check(self) -> None:
        """Check that this process still holds the claim, before it writes what belongs to it.

        Raises:
            ClaimLostError: another process has taken it.
            StorageError: it could not be renewed for half of the time after which another may take it.
        """
        now = _clock()
        if now - self._seen < _CHECK_SECONDS:
            return
        with writing(self.path):
            is_held = self._is_held()
            if is_held and now - self._renewed > self.owner.seconds / 2:
                self.renew()
        self._seen = now
        if not is_held:
            raise ClaimLostError(f"another process has taken {self.path.name}, which this one had claimed")

    def _is_held(self) -> bool:
        """Return whether the file is still this claim's."""
        try:
            return self.path.read_bytes() == _content(self.owner)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return False
            raise

    def __enter__(self) -> Claim:
        _renewer.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        _renewer.remove(self)
        with suppress(OSError):
            if self._is_held():
                self.path.unlink()
        os.close(self._handle)


class _Renewer:
    """Renews the claims that this process holds, in a thread of its own."""

    def __init__(self) -> None:
        self._held: list[Claim] = []
        self._lock = threading.Lock()
        self._is_new = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, claim: Claim) -> None:
        with self._lock:
            self._held.append(claim)
            self._is_new.set()
            if self._thread is None or not self._thread.is_alive():  # a fork does not copy threads
                self._thread = threading.Thread(target=self._run, name="claims", daemon=True)
                self._thread.start()

    def remove(self, claim: Claim) -> None:
        with self._lock:
            self._held.remove(claim)

    def _run(self) -> None:
        while True:
            with self._lock:
                seconds = min((claim.owner.seconds for claim in self._held), default=_SECONDS)
            self._is_new.wait(seconds / _RENEWALS)
            self._is_new.clear()
            with self._lock:
                for claim in self._held:
                    try:
                        claim.renew()
                    except OSError as error:  # the next renewal may do
                        logger.debug("%s could not be renewed: %s", claim.path, error)


_renewer = _Renewer()


def take(path: Path, *, device: str | None = None, progress: int = 0) -> Claim | None:
    """Claim ``path``; returns None if another process holds it.

    Args:
        device: shown to others.
        progress: what is done of the work already: an owner that went without adding to it counts as an attempt.

    Raises:
        StorageError: the file cannot be written.
        UsageError: ``THINWIRE_CLAIM_SECONDS`` is no duration.
    """
    _seconds()  # refuses a wrong value before there is a file
    attempt = 1
    for _ in range(_MOST_TRIES):
        with writing(path):
            try:
                handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
            except FileExistsError:
                handle = -1
        if handle >= 0:
            return _owned(path, handle, device, attempt, progress)
        seen = look(path)
        if seen is not None and not seen.is_gone:
            return None
        if seen is None:  # released just now, or it cannot be read
            time.sleep(0.01)
            continue
        if seen.owner and seen.owner.progress == progress:
            attempt = seen.owner.attempt + 1
        _clear(path, seen)
    raise StorageError(f"{path} can neither be claimed nor read; remove it, or give this user the right to")


def _owned(path: Path, handle: int, device: str | None, attempt: int, progress: int) -> Claim:
    owner = Owner(
        host=host_name(),
        machine=_machine(),
        process=os.getpid(),
        started=_started(os.getpid()),
        job=_job(),
        restarts=_restarts(),
        device=device,
        since=time.time(),
        seconds=_seconds(),
        token=secrets.token_hex(8),
        attempt=attempt,
        progress=progress,
    )
    with writing(path):
        try:
            os.write(handle, _content(owner))
        except OSError:
            path.unlink(missing_ok=True)
            os.close(handle)
            raise
    return Claim(path, handle, owner)


@contextmanager
def waiting(path: Path, what: str) -> Iterator[Claim]:
    """Hold the claim ``path`` during the block; wait for another process that holds it, and say so.

    Args:
        what: what is waited for, for the message: ``the starting adapter``.

    Raises:
        StorageError: the file cannot be written.
    """
    make_folder(path.parent)
    started, is_said = time.monotonic(), False
    while (claim := take(path)) is None:
        if not is_said and time.monotonic() - started > _PATIENCE:
            seen = look(path)
            logger.info("waiting for %s (%s)", what, seen.owner if seen and seen.owner else "another process")
            is_said = True
        time.sleep(0.1)
    with claim:
        yield claim


def look(path: Path) -> Seen | None:
    """Return the claim ``path`` as it is now; None if nobody holds it."""
    try:
        with path.open("rb") as file:  # a network file system asks its server when a file is opened
            content, state = file.read(), os.fstat(file.fileno())
    except OSError:
        return None
    owner = _parsed(content)
    is_here = owner is not None and owner.machine == _machine()
    age = (time.time() if is_here else _now_there(path.parent)) - state.st_mtime
    return Seen(name=path.name, owner=owner, age=age, is_gone=_is_gone(owner, age), content=content)


def _content(owner: Owner) -> bytes:
    return json.dumps(asdict(owner)).encode()


def _parsed(content: bytes) -> Owner | None:
    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):
        return None


def _is_gone(owner: Owner | None, age: float) -> bool:
    """Return whether an owner is gone: its process on this machine has ended, its job was requeued and runs this
    process, or it has not renewed its claim."""
    if owner is None:
        return age > _seconds()
    if owner.machine == _machine():
        started = _started(owner.process)
        if started is None:
            return True
        # Another start may be a set clock's, so that the age counts too.
        is_other = owner.started is not None and abs(started - owner.started) > _START_SECONDS
        return is_other and age > owner.seconds
    if owner.job is not None and owner.job == _job() and owner.restarts < _restarts():
        return True
    return age > owner.seconds


def _clear(path: Path, seen: Seen) -> None:
    """Remove a claim whose owner is gone. If another process has done so and claimed it anew, that claim stays."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with suppress(OSError):
        if path.read_bytes() != seen.content:
            return
        path.rename(aside)
        if aside.read_bytes() != seen.content:
            with suppress(OSError):
                os.link(aside, path)
        aside.unlink()


def _now_there(folder: Path) -> float:
    """Return the time of the file system of ``folder``, which need not be that of this host; where nothing can be
    written, this host's."""
    probe = folder / f".now.{secrets.token_hex(8)}"
    try:
        handle = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except OSError:
        return time.time()
    try:
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        probe.unlink(missing_ok=True)


def _started(process: int) -> float | None:
    """Return when a process of this machine started, as Unix time in seconds; None if there is none."""
    try:
        found = psutil.Process(process)
        return None if found.status() == psutil.STATUS_ZOMBIE else found.create_time()
    except psutil.NoSuchProcess:
        return None


def _clock() -> float:
    """Return seconds that also pass while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _seconds() -> float:
    text = os.environ.get(_SECONDS_VARIABLE) or str(_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{_SECONDS_VARIABLE}={text} is no number of seconds above 0; the default is {_SECONDS:.0f}")
    return seconds


def _job() -> str | None:
    """Return the job that this process belongs to, of Slurm."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"slurm-{job}" if job else None


def _restarts() -> int:
    """Return how often Slurm has requeued this process's job. Only an earlier run of a job is over: a job of several
    nodes may have workers on each, as where Ray was started in it."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def _machine() -> str:
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
