"""Arms side by side on a processor: processes with a model and some of the cores each, which run what they are told.

Torch lets all cores share each operation, and at its end they wait for each other. A small model's operations are
short, so that is much of the time (docs/performance.md). Arms need nothing of each other: each runs on cores of its
own.

A process reads what to run from its standard input, the names of a group of arms in a line, and writes what happens to
its standard output, an object in a line, both JSON. All else lies in the sweep's folder. The input's end means that
nobody waits any longer, however the sweep ended: what is running is interrupted, and recorded as cancelled.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread, main_thread
from typing import Any

import torch

from thinwire.arm import as_left
from thinwire.errors import ThinwireError
from thinwire.experiment_file import load_experiment
from thinwire.fused import run_group
from thinwire.model import load
from thinwire.plan import Planned, plan
from thinwire.progress import Display, Task
from thinwire.workbench import Workbench

logger = logging.getLogger(__name__)

Event = dict[str, Any]
Events = SimpleQueue[tuple["_Process", Event | None]]
"""What happens in the processes; None when one has ended."""

_PATIENCE = 30.0
"""Seconds from an interruption to the next, if a process goes on in spite of it."""


def run_side_by_side(
    groups: Sequence[Sequence[Planned]], folder: Path, display: Display, *, num_processes: int
) -> Iterator[Sequence[Planned]]:
    """Run groups of arms in ``folder``, which holds the experiment, each in the next process that is free.

    Codecs and starting adapters are found where they are made already (``Workbench.make_shared``): here, they would be
    made by a part of the cores.

    Yields:
        Each group when it is over, in whatever order; its arms' records lie in their folders.

    Raises:
        ThinwireError: a process ended by itself; the groups that others were at, or could still run, are over by then.
    """
    waiting = deque(groups)
    events: Events = SimpleQueue()
    lost: list[str] = []
    with _started(folder, num_processes, events) as processes:
        for process in processes:
            process.run(waiting)
        while any(process.running for process in processes):
            process, event = events.get()
            if event is None and process.running:
                names = ", ".join(run.name for run in process.running)
                lost.append(f"{names} (exit code {process.ended()})")
                logger.error("the process that ran %s has ended", lost[-1])
                process.running = ()
            elif event and "over" in event:
                yield process.running
                process.run(waiting)
            elif event:
                process.show(event, display)
    if lost:
        raise ThinwireError(
            f"processes ended before what they ran: {'; '.join(lost)}; where memory ran out (exit code -9), fewer "
            "of them take less: --set processes=1, and --resume to go on"
        )


@contextmanager
def _started(folder: Path, number: int, events: Events) -> Iterator[list[_Process]]:
    """Processes that share the cores; at the end of the block they are told to stop, and waited for."""
    cores = torch.get_num_threads()
    processes: list[_Process] = []
    try:
        for one in range(number):
            threads = max(1, cores // number + (one < cores % number))
            processes.append(_Process(folder, threads, 1 / number, events))
        yield processes
    finally:
        for process in processes:
            process.stop()
        for process in processes:
            process.ended()


class _Process:
    """One of the processes, seen from the sweep."""

    def __init__(self, folder: Path, threads: int, share: float, events: Events) -> None:
        numbers = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(folder), str(share)],
            env={**os.environ, **dict.fromkeys(numbers, str(threads))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # a terminal's Ctrl-C is for the sweep, which stops its processes itself
        )
        self.running: Sequence[Planned] = ()
        self._tasks: dict[int, tuple[ExitStack, Task]] = {}
        Thread(target=self._listen, args=(events,), daemon=True).start()

    def _listen(self, events: Events) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, suppress(ValueError):  # an interrupted process may end within a line
            for line in lines:
                events.put((self, json.loads(line)))
        events.put((self, None))

    def run(self, waiting: deque[Sequence[Planned]]) -> None:
        """Begin the next group; without one, let the process end."""
        self.running = waiting.popleft() if waiting else ()
        if self.running:
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):  # it has ended: that comes as an event
                self._process.stdin.write(json.dumps([run.name for run in self.running]) + "\n")
                self._process.stdin.flush()
        else:
            self.stop()

    def stop(self) -> None:
        """Tell the process that nobody waits any longer."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def ended(self) -> int:
        """Wait for its end; gives the exit code."""
        for stack, _ in self._tasks.values():
            stack.close()
        self._tasks.clear()
        return self._process.wait()

    def show(self, event: Event, display: Display) -> None:
        """Show or log here what happens there."""
        if "log" in event:
            logging.getLogger(event["log"]["name"]).handle(logging.makeLogRecord(event["log"]))
        elif "begins" in event:
            stack = ExitStack()
            self._tasks[event["task"]] = stack, stack.enter_context(display.task(event["begins"], event["before"]))
        elif "ends" in event:
            self._tasks.pop(event["task"])[0].close()
        else:
            self._tasks[event["task"]][1].update(event["done"], event["total"], event["figures"])


def _serve(folder: Path, share: float) -> None:
    """Be one of the processes: run what comes from the standard input, until it ends."""
    jobs: SimpleQueue[list[str]] = SimpleQueue()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed must not come between the events

    def send(event: Event) -> None:
        with suppress(BrokenPipeError):  # nobody reads any longer: the input's end says so too
            out.write(json.dumps(event) + "\n")

    with suppress(KeyboardInterrupt):
        Thread(target=_receive, args=(jobs,), daemon=True).start()
        experiment = load_experiment(folder / "experiment.yaml", [])
        display = _Sent(send)
        bench = Workbench(experiment, load(experiment.model), folder / "codec", display, memory_share=share)
        runs = {run.name: run for run in plan(experiment, (), "all")}
        package = logging.getLogger("thinwire")
        package.addHandler(_LogSender(send))
        package.setLevel(logging.INFO)
        while True:
            group = [replace(runs[name], config=bench.resolve(runs[name].config)) for name in _next(jobs)]
            run_group(bench, [as_left(run, folder, bench) for run in group], folder, display)
            send({"over": True})
    with suppress(BrokenPipeError):
        out.close()


def _receive(jobs: SimpleQueue[list[str]]) -> None:
    """Pass on what comes in; at its end, interrupt the main thread."""
    for line in sys.stdin:
        jobs.put(json.loads(line))
    while True:  # more than once: an interruption that falls into a destructor is lost
        signal.pthread_kill(main_thread().ident or 0, signal.SIGINT)
        time.sleep(_PATIENCE)


def _next(jobs: SimpleQueue[list[str]]) -> list[str]:
    while True:  # an interruption right before a wait does not end it
        with suppress(Empty):
            return jobs.get(timeout=1.0)


class _Sent(Display):
    """Sends what is to be shown to the sweep."""

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

    overall = task


class _SentTask:
    def __init__(self, send: Callable[[Event], None], number: int) -> None:
        self._send, self._number = send, number

    def update(self, done: int, total: int, figures: str = "") -> None:
        self._send({"task": self._number, "done": done, "total": total, "figures": figures})


class _LogSender(logging.Handler):
    """Sends what is logged, but for what the sweep has said itself when it made what arms share."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        super().__init__(logging.INFO)
        self._send = send
        self.addFilter(lambda record: record.levelno > logging.INFO or record.name != "thinwire.workbench")

    def emit(self, record: logging.LogRecord) -> None:
        kept = ("name", "levelno", "levelname", "created", "msecs", "arm")
        said = {key: value for key in kept if (value := getattr(record, key, None)) is not None}
        self._send({"log": {**said, "msg": record.getMessage()}})


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    _serve(Path(sys.argv[1]), float(sys.argv[2]))
