"""Worker processes that run groups of arms side by side on a CPU, each with its own model and some of the cores.

By default, torch splits each operation over all cores, which then wait for each other. A small model's operations are
short, so this waiting takes much of the time (docs/performance/README.md). Arms are independent, so each can run on
cores of its own.

A worker process reads from its standard input, one JSON value per line: the names of a group to run, ``"end"`` if there
are no more groups, or ``"stop"`` to interrupt what is running, which keeps its resume points and is recorded as
cancelled. It writes events to its standard output, one JSON object per line. All other files are in the sweep's folder.
If its input ends without a word, the sweep was killed: the worker then leaves at once, because another sweep may begin
in the folder.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
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

from thinwire import interruption
from thinwire.config.auto import resolved
from thinwire.config.load import load_experiment
from thinwire.errors import StorageError, ThinwireError
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.group_run import run_group
from thinwire.experiment.plan import Planned, plan
from thinwire.experiment.resume import with_resume_point
from thinwire.experiment.resume_points import committed
from thinwire.experiment.runtime import make_runtime
from thinwire.experiment.search import with_choices
from thinwire.model.loading import load
from thinwire.progress import Display, Task
from thinwire.results.layout import CODEC_FOLDER, EXPERIMENT_FILE
from thinwire.results.search_record import read_search_record

logger = logging.getLogger(__name__)

Event = dict[str, Any]
Events = SimpleQueue[tuple["_Process", Event | None]]
"""Events of the worker processes; None when a process has ended."""

_PATIENCE = 120.0
"""Seconds that a process has to finish its step and to save what it has, once it is stopped."""


def run_in_worker_processes(
    groups: Sequence[Sequence[Planned]], folder: Path, display: Display, *, num_processes: int
) -> Iterator[Sequence[Planned]]:
    """Run groups of arms in ``folder``, which holds the experiment, each in the next free process.

    Codecs and starting adapters should already exist (``ArtifactCache.make_shared``); a worker would make them with
    only a part of the cores.

    Yields:
        Each group when it has ended, in any order; its arms' records are in their folders.

    Raises:
        ThinwireError: a process died; the other processes have run all other groups by then, as far as possible.
        StorageError: a process could not write a file.
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
            elif event and "unwritable" in event:
                raise StorageError(event["unwritable"])
            elif event and "over" in event:
                yield process.running
                process.run(waiting)
            elif event:
                process.show(event, display)
    if lost:
        raise ThinwireError(
            f"processes ended before what they ran: {'; '.join(lost)}; where memory ran out (exit code -9), fewer "
            "of them take less: --set worker_processes=1, and --resume to go on"
        )


@contextmanager
def _started(folder: Path, number: int, events: Events) -> Iterator[list[_Process]]:
    """Start processes that share the cores; at the end of the block, stop them and wait for them."""
    cores = torch.get_num_threads()
    processes: list[_Process] = []

    def kill() -> None:
        for process in processes:
            process.kill()

    with interruption.before_leaving(kill):
        try:
            for index in range(number):
                threads = max(1, cores // number + (index < cores % number))
                with interruption.deferred():  # no process is started without being known
                    processes.append(_Process(folder, threads, 1 / number, events))
            yield processes
        finally:
            with interruption.deferred():  # a signal that comes now would leave processes behind
                for process in processes:
                    process.stop()
                for process in processes:
                    process.ended()


class _Process:
    """The sweep's handle on one worker process."""

    def __init__(self, folder: Path, threads: int, share: float, events: Events) -> None:
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(folder), str(share)],
            env={**os.environ, **dict.fromkeys(variables, str(threads))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C in a terminal goes only to the sweep, which stops its processes itself
        )
        self.running: Sequence[Planned] = ()
        self._is_ready = False
        self._tasks: dict[int, tuple[ExitStack, Task]] = {}
        Thread(target=self._listen, args=(events,), daemon=True).start()

    def _listen(self, events: Events) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, suppress(ValueError):  # an interrupted process may leave a partial line
            for line in lines:
                self._is_ready = True
                events.put((self, json.loads(line)))
        events.put((self, None))

    def run(self, waiting: deque[Sequence[Planned]]) -> None:
        """Send the next group to the process; if none is left, let the process end."""
        self.running = waiting.popleft() if waiting else ()
        if self.running:
            self.tell([run.name for run in self.running])
        else:
            self.tell("end")

    def tell(self, message: list[str] | str) -> None:
        """Send a message to the process."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the process has ended, which comes as an event
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def stop(self) -> None:
        """Interrupt what the process runs; it keeps its resume points. One that has not begun ends at once."""
        if self._is_ready:
            self.tell("stop")
        else:
            self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def ended(self) -> int:
        """Wait until the process has ended, but not for ever; returns its exit code."""
        for stack, _ in self._tasks.values():
            stack.close()
        self._tasks.clear()
        try:
            return self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def show(self, event: Event, display: Display) -> None:
        """Show or log an event of the process."""
        if "ready" in event:
            return
        if "log" in event:
            logging.getLogger(event["log"]["name"]).handle(logging.makeLogRecord(event["log"]))
        elif "begins" in event:
            stack = ExitStack()
            self._tasks[event["task"]] = stack, stack.enter_context(display.task(event["begins"], event["before"]))
        elif "ends" in event:
            self._tasks.pop(event["task"])[0].close()
        else:
            self._tasks[event["task"]][1].update(event["done"], event["total"], event["metrics"])


def _serve(folder: Path, share: float) -> None:
    """Run as a worker process: run the groups that arrive on the standard input, until there are no more."""
    jobs: SimpleQueue[list[str] | None] = SimpleQueue()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # other output must not mix with the events

    def send(event: Event) -> None:
        with suppress(BrokenPipeError):  # the sweep has ended; the end of the input shows that too
            out.write(json.dumps(event) + "\n")

    try:
        Thread(target=_receive, args=(jobs,), daemon=True).start()
        send({"ready": True})
        experiment = load_experiment(folder / EXPERIMENT_FILE, [])
        display = _SentDisplay(send)
        lm = load(experiment.model)
        runtime = make_runtime(experiment, lm, display, memory_share=share)
        artifacts = ArtifactCache(experiment, lm, folder / CODEC_FOLDER, display)
        chosen = with_choices(experiment, plan(experiment, (), "all"), read_search_record(folder))
        runs = {run.name: run for run in chosen}
        package = logging.getLogger("thinwire")
        package.addHandler(_LogSender(send))
        package.setLevel(logging.INFO)
        while (names := _next(jobs)) is not None:
            group = []
            for name in names:
                run = replace(runs[name], config=resolved(runs[name].config, lm.device.type))
                data = artifacts.questions(run.config).encoded.hashes
                group.append(with_resume_point(run, folder, data, lm, committed(folder)))
            run_group(runtime, artifacts, group, folder)
            send({"over": True})
    except interruption.Interrupted as error:
        sys.exit(error.exit_code)
    except StorageError as error:
        send({"unwritable": str(error)})
    finally:
        interruption.ignore()  # nothing is left to be interrupted
        with suppress(BrokenPipeError):
            out.close()


def _receive(jobs: SimpleQueue[list[str] | None]) -> None:
    """Queue incoming jobs; interrupt the main thread if asked to, and leave at once if the sweep has died."""
    is_told = False
    for line in sys.stdin:
        message = json.loads(line)
        if message == "stop":
            is_told = True
            if interruption.received() is None:  # else it has heard the signal itself, and a second one would kill it
                signal.pthread_kill(main_thread().ident or 0, signal.SIGTERM)
        elif message == "end":
            jobs.put(None)
            return
        else:
            jobs.put(message)
    if not is_told:
        os._exit(1)


def _next(jobs: SimpleQueue[list[str] | None]) -> list[str] | None:
    while True:  # with a timeout, because an interruption right before a wait does not end it
        interruption.check()
        with suppress(Empty):
            return jobs.get(timeout=1.0)


class _SentDisplay(Display):
    """Sends progress to the sweep."""

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

    def update(self, done: int, total: int, metrics: str = "") -> None:
        self._send({"task": self._number, "done": done, "total": total, "metrics": metrics})


class _LogSender(logging.Handler):
    """Sends log records to the sweep, except those that it has already logged when it made shared artifacts."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        super().__init__(logging.INFO)
        self._send = send
        self.addFilter(lambda record: record.levelno > logging.INFO or record.name != ArtifactCache.__module__)

    def emit(self, record: logging.LogRecord) -> None:
        kept = ("name", "levelno", "levelname", "created", "msecs", "arm")
        attributes = {key: value for key in kept if (value := getattr(record, key, None)) is not None}
        self._send({"log": {**attributes, "msg": record.getMessage()}})


if __name__ == "__main__":
    interruption.install()
    _serve(Path(sys.argv[1]), float(sys.argv[2]))
