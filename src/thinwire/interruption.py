"""Signals that end the command: the first stops it at the next safe moment, a second one at once.

``install`` makes INT, TERM, HUP, USR1 and USR2 raise ``Interrupted`` in the main thread. Work that must not be cut
through, such as an optimiser step, runs in a ``deferred`` block, and looks by itself whether to stop (``check``).
A program that imports this package handles signals itself; ``stop`` reaches a thread of it only by its checks.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)
"""Those that a terminal, a scheduler or a pre-emption sends to have a program stop."""

_MAY_BE_IGNORED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name))
"""Those that stay ignored if the program was started so, as by ``nohup`` and for a shell's background jobs."""


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end. Exit code 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class _Handler:
    """What has been received, and what is being done about it."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.num_deferred = 0
        self.asked: set[int] = set()
        """Threads that were asked to stop without a signal."""
        self.before_leaving: list[Callable[[], None]] = []

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            self.leave(128 + number)
        self.received = number
        if not self.num_deferred:
            raise Interrupted(number)

    def leave(self, exit_code: int) -> None:
        try:
            for act in self.before_leaving:
                act()
        finally:
            os._exit(exit_code)


_handler = _Handler()


def install() -> None:
    """Let the signals end this process as this module says; for the main thread of a program."""
    for number in SIGNALS:
        if number not in _MAY_BE_IGNORED or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handler)


def stop(thread: int | None = None) -> None:
    """Stop this process as SIGTERM would, from any thread.

    Args:
        thread: the one that is to stop where signals are not installed, by default the main thread
            (``threading.get_ident``): what it runs ends at its next ``check``, until ``take_back`` is called.
    """
    main = threading.main_thread().ident or 0
    if not isinstance(signal.getsignal(signal.SIGTERM), _Handler):
        _handler.asked.add(main if thread is None else thread)
    elif _handler.received is None:  # a second signal would end it at once
        signal.pthread_kill(main, signal.SIGTERM)


def take_back(thread: int) -> bool:
    """Take back a request to stop that came without a signal; returns whether there was one."""
    was_asked = thread in _handler.asked
    _handler.asked.discard(thread)
    return was_asked


def ignore() -> None:
    """Ignore the signals from now on, when nothing is left to be interrupted."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def received() -> int | None:
    """Return the number of the first signal, or None; that of SIGTERM where this thread was asked to stop without."""
    if _handler.received is None and threading.get_ident() in _handler.asked:
        return signal.SIGTERM
    return _handler.received


def check() -> None:
    """Raise ``Interrupted`` if a signal has been received, also one whose exception was lost in a destructor."""
    if (number := received()) is not None:
        raise Interrupted(number)


@contextmanager
def deferred() -> Iterator[None]:
    """Let no signal raise within the block; ``check`` does, and the end of the outermost block."""
    _handler.num_deferred += 1
    try:
        yield
    finally:
        _handler.num_deferred -= 1
    if not _handler.num_deferred:
        check()


@contextmanager
def before_leaving(act: Callable[[], None]) -> Iterator[None]:
    """Call ``act`` if a second signal ends the process within the block."""
    _handler.before_leaving.append(act)
    try:
        yield
    finally:
        _handler.before_leaving.remove(act)
