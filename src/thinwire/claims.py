"""Claims: files by which processes, also of several hosts, agree on who does a piece of work.

A claim is created by one process alone and renewed while it is held, so that others see from its modification time that
its owner lives. Neither locks of the file system nor equal clocks are needed. A claim is advisory: an owner that was
suspended for longer than a claim lasts may find that another process has taken its work (``Claim.check``).
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from thinwire import interruption
from thinwire.claim_files import clear, create, look
from thinwire.claim_owners import DEFAULT_SECONDS, Owner, claim_seconds, content_of, this_process
from thinwire.errors import StorageError, ThinwireError
from thinwire.files import checking, make_folder, remove_partial_files
from thinwire.storage_errors import writing

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_RENEWALS = 6
"""Renewals in the time after which an owner that does not renew its claim is taken to be gone."""

_CHECK_SECONDS = 1.0
"""Between two looks at whether a claim is still held."""

_MOST_TRIES = 500

_PATIENCE = 2.0
"""Seconds of waiting for a claim before that is said."""


class ClaimLostError(ThinwireError):
    """Another process has taken a claim that was not renewed in time."""


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
        if self.is_held():
            os.utime(self._handle)
            self._renewed = now

    def check(self, *, at_once: bool = False) -> None:
        """Check that this process still holds the claim, before it writes what belongs to it.

        Args:
            at_once: look at the file even if that was done within the last second.

        Raises:
            ClaimLostError: another process has taken it.
            StorageError: it could not be renewed for half of the time after which another may take it.
        """
        now = _clock()
        if now - self._seen < _CHECK_SECONDS and not at_once:
            return
        with writing(self.path):
            is_held = self.is_held()
            if is_held and now - self._renewed > self.owner.seconds / 2:
                self.renew()
        if not is_held:  # and not said for a second only: what handles the error may go on to write
            raise ClaimLostError(f"another process has taken {self.path.name}, which this one had claimed")
        self._seen = now

    def is_held(self) -> bool:
        """Return whether the file is still this claim's.

        Raises:
            OSError: it cannot be read.
        """
        try:
            return self.path.read_bytes() == content_of(self.owner)
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
            if self.is_held():
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
                seconds = min((claim.owner.seconds for claim in self._held), default=DEFAULT_SECONDS)
            self._is_new.wait(seconds / _RENEWALS)
            self._is_new.clear()
            with self._lock:
                for claim in self._held:
                    try:
                        claim.renew()
                    except OSError as error:  # the next renewal may do
                        logger.debug("%s could not be renewed: %s", claim.path, error)


_renewer = _Renewer()


def take(path: Path, *, device: str | None = None, progress: int = 0, steps: int = 0) -> Claim | None:
    """Claim ``path``; returns None if another process holds it.

    Args:
        device: shown to others.
        progress: what is done of the work already: an owner that went without adding to it counts as an attempt.
        steps: optimiser steps that are done of it, shown to others.

    Raises:
        StorageError: the file cannot be written.
        UsageError: ``THINWIRE_CLAIM_SECONDS`` is no duration.
    """
    claim_seconds()  # refuses a wrong value before there is a file
    attempt = 1
    for _ in range(_MOST_TRIES):
        owner = this_process(device=device, attempt=attempt, progress=progress, steps=steps)
        with writing(path):
            handle = None if os.path.lexists(path) else create(path, owner)
        if handle is not None:
            return Claim(path, handle, owner)
        seen = look(path)
        if seen is not None and not seen.is_gone:
            return None
        if seen is None:  # released just now, or it cannot be read
            time.sleep(0.01)
            continue
        if seen.owner and seen.owner.progress == progress:
            attempt = seen.owner.attempt + 1
        clear(path, seen)
    raise StorageError(f"{path} can neither be claimed nor read; remove it, or give this user the right to")


@contextmanager
def writing_while_held(claim: Claim) -> Iterator[None]:
    """Change files in the block only as long as ``claim`` is held: what belongs to it is another process's otherwise.

    Raises:
        ClaimLostError: another process has taken it.
        ThinwireError, OSError: what the block raises, if that is not because the other process has moved files.
    """
    try:
        with checking(claim.check):
            yield
    except (ThinwireError, OSError):
        claim.check(at_once=True)
        raise


def alone(path: Path, what: str, act: Callable[[], Result], *, again: bool = True) -> Result:
    """Do what one process at a time does: hold the claim ``path`` meanwhile, and change files only while it is held.
    Wait for another process that holds it, and say so.

    Args:
        what: what is waited for, for the message: ``the starting adapter``.
        act: called again if another process has taken the claim meanwhile, as from one that was suspended; it sees then
            what that one has done.
        again: False where ``act`` must not be called again, as it changes what it begins with.

    Raises:
        ClaimLostError: another process has taken a claim of a block around this, or this one and it is not done again.
        StorageError: the file cannot be written.
        Interrupted: this process is to stop.
    """
    while True:
        with _waited_for(path, what) as claim:
            try:
                with writing_while_held(claim):
                    return act()
            except ClaimLostError as error:
                if claim.is_held() or not again:
                    raise
                logger.warning("%s; doing it again", error)


def make_file_alone(file: Path, what: str, make: Callable[[], object]) -> None:
    """Let ``make`` write ``file``, if it is not there, as one process at a time does (``alone``); a file that is there
    is never replaced, also not by a process that was suspended when it was about to give its own the name."""

    def act() -> None:
        remove_partial_files(file.parent, f".{file.name}.*")
        if not os.path.lexists(file):
            make()

    alone(file.with_name(f".{file.name}.claim"), what, act)


def _waited_for(path: Path, what: str) -> Claim:
    make_folder(path.parent)
    started, is_said = time.monotonic(), False
    while (claim := take(path)) is None:
        interruption.check()
        if not is_said and time.monotonic() - started > _PATIENCE:
            seen = look(path)
            logger.info("waiting for %s (%s)", what, seen.owner if seen and seen.owner else "another process")
            is_said = True
        time.sleep(0.1)
    return claim


def _clock() -> float:
    """Return seconds that also pass while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
