"""A worker process on the host of its sweep, as the sweep sees it; ``worker.py`` is what runs in it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from threading import Thread
from typing import Any

import torch

from thinwire import interruption
from thinwire.config.experiment import Experiment
from thinwire.errors import StorageError, ThinwireError
from thinwire.ops.device import visible_gpus
from thinwire.progress import Display, Task

Event = dict[str, Any]

_WORKER = "thinwire.experiment.executors.worker"

_PATIENCE = 120.0
"""Seconds that a process has to finish its step and to save what it has, once it is stopped."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")


def gpus_for_processes(device: str, setting: int | str) -> tuple[str, ...]:
    """Return the GPUs that get a worker process each: all that are visible, unless a setting says otherwise.

    Args:
        device: ``model.device``; a GPU named there is the only one.
        setting: ``worker_processes``.
    """
    gpus = visible_gpus() if device in ("auto", "cuda") else ()
    return gpus[:setting] if isinstance(setting, int) else gpus


@contextmanager
def processes_for_gpus(experiment: Experiment, num_runs: int) -> Iterator[list[WorkerProcess]]:
    """Start a process for each GPU of a sweep but the first, which is the sweep's own; the block gives them their job.

    They import what they need, which takes seconds, while this process reads its data and imports the same.

    Args:
        num_runs: arms and controls to run, with their seeds: more GPUs are not taken, unless settings are searched,
            where each run has several candidates.
    """
    gpus = gpus_for_processes(experiment.model.device, experiment.worker_processes)
    if not experiment.search:
        gpus = gpus[: max(1, num_runs)]
    threads, processes = max(1, torch.get_num_threads() // max(1, len(gpus))), list[WorkerProcess]()
    try:
        with interruption.deferred():  # no process is started without being known
            for gpu in gpus[1:]:
                processes.append(WorkerProcess(threads, gpu))
        yield processes
    finally:
        for process in processes:
            process.kill_idle()


class WorkerProcess:
    """A process that waits for its job."""

    def __init__(self, threads: int, gpu: str | None) -> None:
        """Start the process.

        Args:
            threads: CPU threads that it is to use.
            gpu: the only one that it is to see, as ``CUDA_VISIBLE_DEVICES`` names it; None to leave that as it is.
        """
        variables = {**dict.fromkeys(_THREADS, str(threads)), **({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})}
        self._gpu = gpu
        self._process = subprocess.Popen(
            [sys.executable, "-m", _WORKER],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C in a terminal goes only to the sweep, which stops its processes itself
        )
        self.error: ThinwireError | None = None
        """Why it cannot go on, as it said itself."""
        self.has_ended = self.is_said = False
        self._is_ready = self._is_stopped = False
        self._tasks: dict[int, tuple[ExitStack, Task]] = {}
        self._thread: Thread | None = None

    def begin(self, job: Mapping[str, Any], display: Display) -> None:
        """Give the process its job (``worker.py``), and show its progress in ``display``."""
        self.tell({**job, "gpu": self._gpu})
        self._thread = Thread(target=self._listen, args=(display,), daemon=True)
        self._thread.start()

    def _listen(self, display: Display) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, suppress(ValueError):  # a killed process may leave a partial line
            for line in lines:
                self._is_ready = True
                self._show(json.loads(line), display)
        for stack, _ in self._tasks.values():
            stack.close()
        self._tasks.clear()
        self._process.wait()
        self.has_ended = True

    @property
    def exit_code(self) -> int:
        """The exit code; negative for a signal."""
        return self._process.wait()

    @property
    def has_died(self) -> bool:
        """Whether it has ended otherwise than after its work."""
        return self.has_ended and not self._is_stopped and self.exit_code != 0

    def tell(self, message: object) -> None:
        """Send a message to the process."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def stop(self) -> None:
        """Interrupt what the process runs; it keeps its resume points. One that has not begun ends at once."""
        self._is_stopped = True
        if self._is_ready:
            self.tell("stop")
        else:
            self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def kill_idle(self) -> None:
        """End the process at once if it has got no job."""
        if self._thread is None:
            self.kill()
            self._process.communicate()  # closes its pipes, too

    def wait(self) -> None:
        """Wait until the process has ended, but not for ever."""
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        if self._thread:
            self._thread.join()

    def _show(self, event: Event, display: Display) -> None:
        """Show, log or keep an event of the process."""
        if "ready" in event:
            return
        if "unwritable" in event:
            self.error = StorageError(event["unwritable"])
        elif "failed" in event:
            self.error = ThinwireError(event["failed"])
        elif "log" in event:
            logging.getLogger(event["log"]["name"]).handle(logging.makeLogRecord(event["log"]))
        elif "begins" in event:
            stack = ExitStack()
            self._tasks[event["task"]] = stack, stack.enter_context(display.task(event["begins"], event["before"]))
        elif "ends" in event:
            self._tasks.pop(event["task"])[0].close()
        else:
            self._tasks[event["task"]][1].update(event["done"], event["total"], event["metrics"])
