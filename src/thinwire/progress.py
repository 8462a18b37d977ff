"""Showing how far the work is: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

_LINE_SECONDS = 20.0


class Task(Protocol):
    """A piece of work whose end is known."""

    def update(self, done: int, total: int, figures: str = "") -> None:
        """Say how far it is, and the figures of the moment."""


class Display:
    """Plain lines through the logger, at most one in 20 seconds a task: for files, pipes and schedulers."""

    @contextmanager
    def task(self, name: str, before: int = 0) -> Iterator[Task]:
        """Show a piece of work for the length of the block; ``before`` of it was done earlier, in no time of now."""
        yield _Lines(name, before)

    @contextmanager
    def overall(self, name: str, before: int = 0) -> Iterator[Task]:
        """Show the work that the other tasks are part of."""
        yield _Lines(name, before, every=0.0)


class _Lines:
    def __init__(self, name: str, before: int, every: float = _LINE_SECONDS) -> None:
        self._name, self._before, self._every = name, before, every
        self._started = self._last = time.monotonic()

    def update(self, done: int, total: int, figures: str = "") -> None:
        now = time.monotonic()
        if now - self._last < self._every or done <= self._before:
            return
        self._last = now
        left = (now - self._started) / (done - self._before) * (total - done)
        logger.info("%s %d/%d  %s  %s left", self._name, done, total, figures, clock(left))


class RichDisplay(Display):
    """Bars that redraw themselves, on a terminal. Use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> RichDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def task(self, name: str, before: int = 0) -> Iterator[Task]:
        task_id = self._progress.add_task(name, total=None, completed=before, figures="")
        try:
            yield _Bar(self._progress, task_id)
        finally:
            self._progress.remove_task(task_id)

    overall = task


class _Bar:
    def __init__(self, progress: Progress, task_id: TaskID) -> None:
        self._progress, self._task_id = progress, task_id

    def update(self, done: int, total: int, figures: str = "") -> None:
        self._progress.update(self._task_id, completed=done, total=total, figures=figures)


def clock(seconds: float) -> str:
    """A duration as people write it: 45 s, 3:20 min, 1:05 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60}:{seconds % 60:02d} min"
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d} h"
