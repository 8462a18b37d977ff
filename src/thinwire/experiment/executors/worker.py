"""A worker process on the host of its sweep.

It reads from its standard input, one JSON value per line: first its job, then ``"end"`` once the sweep is over, or
``"stop"`` to interrupt what is running, which keeps its resume points and is recorded as cancelled. It writes events to
its standard output, one JSON object per line. All other files are in the sweep's folder. If its input ends without a
word, the sweep was killed: the worker then leaves at once, because another sweep may begin in the folder.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from thinwire import interruption
from thinwire.errors import StorageError, ThinwireError
from thinwire.experiment import arm_journal, group_run
from thinwire.experiment.request import request_of
from thinwire.experiment.sweep import join_sweep
from thinwire.progress import Display, Task

Event = dict[str, Any]

_OF_ARMS = (arm_journal.__name__, group_run.__name__, "thinwire.progress")
"""Modules whose messages are about the arms that the worker runs."""


def serve() -> None:
    """Run the job that arrives on the standard input."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # other output must not mix with the events

    def send(event: Event) -> None:
        with suppress(BrokenPipeError):  # the sweep has ended; the end of the input shows that too
            out.write(json.dumps(event) + "\n")

    try:
        job = json.loads(sys.stdin.readline() or "null")
        if job is None:
            return
        Thread(target=_listen, daemon=True).start()
        send({"ready": True})
        check_gpu(job["gpu"])
        package = logging.getLogger("thinwire")
        package.addHandler(_LogSender(send))
        package.setLevel(logging.INFO)
        display = _SentDisplay(send)
        join_sweep(request_of(job["request"]), Path(job["folder"]), display, memory_share=job["memory_share"])
    except interruption.Interrupted as error:
        sys.exit(error.exit_code)
    except StorageError as error:
        send({"unwritable": str(error)})
    except ThinwireError as error:
        send({"failed": str(error)})
    finally:
        interruption.ignore()  # nothing is left to be interrupted
        with suppress(BrokenPipeError):
            out.close()


def check_gpu(name: str | None) -> None:
    """Check that this process sees one GPU, if it is to have one.

    Args:
        name: of the GPU, as ``CUDA_VISIBLE_DEVICES`` has it; None on a CPU.

    Raises:
        ThinwireError: it sees another number of them.
    """
    if name and (seen := torch.cuda.device_count()) != 1:
        raise ThinwireError(f"a worker process sees {seen} GPUs with CUDA_VISIBLE_DEVICES={name}; it needs one")


def _listen() -> None:
    """Interrupt the main thread if asked to, and leave at once if the sweep has died."""
    for line in sys.stdin:
        if json.loads(line) == "end":
            return
        interruption.stop()
        return
    os._exit(1)


class _SentDisplay(Display):
    """Sends progress to the sweep, which shows that of the whole itself."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        self._send, self._numbers = send, count()

    @contextmanager
    def task(self, name: str, before: int = 0) -> Iterator[Task]:
        number = next(self._numbers)
        self._send({"task": number, "begins": name, "before": before})
        try:
            yield _SentTask(self._send, number)
        finally:
            self._send({"task": number, "ends": True})

    @contextmanager
    def overall(self, name: str, before: int = 0) -> Iterator[Task]:
        yield _Unshown()


class _Unshown:
    def update(self, done: int, total: int, metrics: str = "") -> None:
        """Show nothing."""


class _SentTask:
    def __init__(self, send: Callable[[Event], None], number: int) -> None:
        self._send, self._number = send, number

    def update(self, done: int, total: int, metrics: str = "") -> None:
        self._send({"task": self._number, "done": done, "total": total, "metrics": metrics})


class _LogSender(logging.Handler):
    """Sends log records to the sweep, except what it logs itself: of the model, the codecs and the run as a whole."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        super().__init__(logging.INFO)
        self._send = send
        self.addFilter(lambda record: record.levelno > logging.INFO or record.name in _OF_ARMS)

    def emit(self, record: logging.LogRecord) -> None:
        kept = ("name", "levelno", "levelname", "created", "msecs", "arm")
        attributes = {key: value for key in kept if (value := getattr(record, key, None)) is not None}
        # A name of no arm where there is none, or the message would be taken for one about the sweep's own arms.
        self._send({"log": {"arm": "", **attributes, "msg": record.getMessage()}})


if __name__ == "__main__":
    interruption.install()
    serve()
