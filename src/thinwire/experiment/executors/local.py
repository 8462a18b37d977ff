"""The executor of one host: worker processes beside the sweep's own, one for each further GPU, or sharing the cores.

On a CPU, torch splits each operation over all cores, which then wait for each other. A small model's operations are
short, so this waiting takes much of the time (docs/performance/README.md). Arms are independent, so each can run on
cores of its own; the sweep's own process then only waits. On GPUs each process sees one GPU, by
``CUDA_VISIBLE_DEVICES``, and the sweep's own process runs arms on the first.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from thinwire import interruption
from thinwire.errors import StorageError, ThinwireError
from thinwire.experiment.request import SweepRequest
from thinwire.experiment.run_claims import RunClaims
from thinwire.experiment.scheduling import gpus_for_processes
from thinwire.progress import Display, Task

logger = logging.getLogger(__name__)

Event = dict[str, Any]

_WORKER = "thinwire.experiment.executors.worker"

_PATIENCE = 120.0
"""Seconds that a process has to finish its step and to save what it has, once it is stopped."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS")


class LocalWorkers:
    """Worker processes that help a sweep. Use it as a context manager: at its end they end."""

    def __init__(self, request: SweepRequest, folder: Path, display: Display) -> None:
        self._request, self._folder, self._display = request, folder, display
        experiment = request.experiment
        self.gpus = gpus_for_processes(experiment.model.device, experiment.worker_processes)
        """The GPUs that run arms, the sweep's own first; none on a CPU."""
        self.share_cores = False
        """Whether processes have taken over the cores, and the sweep's own is to run nothing."""
        self._processes: list[_Process] = []
        self._are_gone = False
        self._stack = ExitStack()

    def start_on_gpus(self) -> None:
        """Start a process for each GPU but the first. They load the model while the sweep does."""
        threads = max(1, torch.get_num_threads() // max(1, len(self.gpus)))
        for gpu in self.gpus[1:]:
            self._start(threads, 1.0, gpu)

    def start_on_cpu(self, number: int) -> None:
        """Start ``number`` processes that share the cores and the memory, unless they have been started."""
        cores = torch.get_num_threads()
        for index in range(0 if self.share_cores else number):
            self._start(max(1, cores // number + (index < cores % number)), 1 / number, None)
        self.share_cores = True

    def _start(self, threads: int, share: float, gpu: str | None) -> None:
        variables = {**dict.fromkeys(_THREADS, str(threads)), **({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})}
        job = {"request": self._request.as_dict(), "memory_share": share, "gpu": gpu}
        with interruption.deferred():  # no process is started without being known
            self._processes.append(_Process(self._folder, job, variables, self._display))

    def check(self) -> None:
        """Look after the processes.

        Raises:
            StorageError: one could not write a file.
            ThinwireError: one could not begin; or all that were to run arms have ended, and this process runs none.
        """
        for process in self._processes:
            if process.error is not None:
                raise process.error
        for process in self._processes:
            if process.has_died and not process.is_said:
                process.is_said = True
                logger.error(
                    "a worker process has ended (exit code %d); what it ran is run again from its last resume point",
                    process.exit_code,
                )
        if not (self.share_cores and all(process.has_ended for process in self._processes)):
            return
        if not self._are_gone:  # once more, because the last of them may have ended the last arm just now
            self._are_gone = True
        elif RunClaims(self._folder).is_asked_to_stop():
            interruption.stop()
        else:
            codes = ", ".join(str(process.exit_code) for process in self._processes)
            raise ThinwireError(
                f"all worker processes have ended (exit codes {codes}) before what there is to run; where memory ran "
                "out (exit code -9), fewer of them take less: --set worker_processes=1, and --resume to go on"
            )

    def __enter__(self) -> LocalWorkers:
        self._stack.enter_context(interruption.before_leaving(self._kill))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack, interruption.deferred():  # a signal that comes now would leave processes behind
            for process in self._processes:
                process.stop() if kind else process.tell("end")
            for process in self._processes:
                process.wait()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()


class _Process:
    """The sweep's handle on one worker process (``executors/worker.py``)."""

    def __init__(self, folder: Path, job: Mapping[str, Any], variables: Mapping[str, str], display: Display) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", _WORKER, str(folder)],
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
        self._display = display
        self._tasks: dict[int, tuple[ExitStack, Task]] = {}
        self.tell(job)
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines, suppress(ValueError):  # a killed process may leave a partial line
            for line in lines:
                self._is_ready = True
                self._show(json.loads(line))
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

    def wait(self) -> None:
        """Wait until the process has ended, but not for ever."""
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._thread.join()

    def _show(self, event: Event) -> None:
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
            self._tasks[event["task"]] = (
                stack,
                stack.enter_context(self._display.task(event["begins"], event["before"])),
            )
        elif "ends" in event:
            self._tasks.pop(event["task"])[0].close()
        else:
            self._tasks[event["task"]][1].update(event["done"], event["total"], event["metrics"])
