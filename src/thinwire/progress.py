"""Progress display: bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

_LINE_SECONDS = 20.0


def wants_plain() -> bool:
    """Return whether the environment asks for output without escape codes: ``NO_COLOR`` with any value
    (https://no-color.org), or a terminal without them (``TERM=dumb``)."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


class Task(Protocol):
    """Progress of one piece of work with a known total."""

    def update(self, done: int, total: int, metrics: str = "") -> None:
        """Set the progress, and the metrics shown beside it."""


class Display:
    """Progress as log lines, at most one per task in 20 seconds: for files, pipes and schedulers."""

    @contextmanager
    def task(self, name: str, before: int = 0) -> Iterator[Task]:
        """Show a piece of work during the block.

        Args:
            before: units completed earlier; excluded from the estimate of the time left.
        """
        yield _Lines(name, before)

    @contextmanager
    def overall(self, name: str, before: int = 0) -> Iterator[Task]:
        """Show the work that the other tasks are part of."""
        yield _Lines(name, before, every=0.0)


class _Lines:
    def __init__(self, name: str, before: int, every: float = _LINE_SECONDS) -> None:
        self._name, self._before, self._every = name, before, every
        self._started = self._last = time.monotonic()

    def update(self, done: int, total: int, metrics: str = "") -> None:
        now = time.monotonic()
        if now - self._last < self._every or done <= self._before:
            return
        self._last = now
        left = (now - self._started) / (done - self._before) * (total - done)
        logger.info("%s %d/%d  %s  %s left", self._name, done, total, metrics, clock(left))


class RichDisplay(Display):
    """Progress bars on a terminal. Use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}"),
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
        task_id = self._progress.add_task(name, total=None, completed=before, metrics="")
        try:
            yield _Bar(self._progress, task_id)
        finally:
            self._progress.remove_task(task_id)

    overall = task


class _Bar:
    def __init__(self, progress: Progress, task_id: TaskID) -> None:
        self._progress, self._task_id = progress, task_id

    def update(self, done: int, total: int, metrics: str = "") -> None:
        self._progress.update(self._task_id, completed=done, total=total, metrics=metrics)


def clock(seconds: float) -> str:
    """Format a duration: 45 s, 3:20 min, 1:05 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60}:{seconds % 60:02d} min"
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d} h"
