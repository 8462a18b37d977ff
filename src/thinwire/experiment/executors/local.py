"""The executor of one host: worker processes beside the sweep's own, one for each further GPU, or sharing the cores.

On a CPU, torch splits each operation over all cores, which then wait for each other. A small model's operations are
short, so this waiting takes much of the time (docs/performance/README.md). Arms are independent, so each can run on
cores of its own; the sweep's own process then only waits. On GPUs each process sees one GPU, by
``CUDA_VISIBLE_DEVICES``, and the sweep's own process runs arms on the first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from threading import get_ident

import torch

from thinwire import interruption
from thinwire.errors import ThinwireError
from thinwire.experiment.executors.worker_process import WorkerProcess
from thinwire.experiment.request import SweepRequest
from thinwire.experiment.run_claims import RunClaims
from thinwire.progress import Display

logger = logging.getLogger(__name__)


class LocalWorkers:
    """Worker processes that help a sweep. Use it as a context manager: at its end they end."""

    def __init__(
        self, request: SweepRequest, folder: Path, display: Display, on_gpus: Iterable[WorkerProcess] = ()
    ) -> None:
        """Take over processes that have been started, and give them nothing to do yet.

        Args:
            on_gpus: a process for each GPU that is not this one's (``processes_for_gpus``).
        """
        self._request, self._folder, self._display = request, folder, display
        self._on_gpus = tuple(on_gpus)
        self.share_cores = False
        """Whether processes have taken over the cores, and the sweep's own is to run nothing."""
        self._processes: list[WorkerProcess] = []
        self._are_gone = False
        self._stack = ExitStack()

    @property
    def num_gpus(self) -> int:
        """The number of GPUs that run arms, the sweep's own among them; 1 on a CPU, too."""
        return 1 + len(self._on_gpus)

    def begin_on_gpus(self) -> None:
        """Let the processes on further GPUs begin. They load the model while the sweep does."""
        with interruption.deferred():  # a process has its job or not
            for process in self._on_gpus:
                self._begin(process, 1.0)

    def start_on_cpu(self, number: int) -> None:
        """Start ``number`` processes that share the cores and the memory, unless they have been started."""
        cores = torch.get_num_threads()
        for index in range(0 if self.share_cores else number):
            with interruption.deferred():  # no process is started without being known
                self._begin(WorkerProcess(max(1, cores // number + (index < cores % number)), None), 1 / number)
        self.share_cores = True

    def _begin(self, process: WorkerProcess, share: float) -> None:
        self._processes.append(process)
        job = {"folder": str(self._folder), "request": self._request.as_dict(), "memory_share": share}
        process.begin(job, self._display)

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
                if RunClaims(self._folder).is_asked_to_stop():
                    continue  # as it did
                logger.error(
                    "a worker process has ended (exit code %d); what it ran is run again from its last resume point",
                    process.exit_code,
                )
        if not (self.share_cores and all(process.has_ended for process in self._processes)):
            return
        if not self._are_gone:  # once more, because the last of them may have ended the last arm just now
            self._are_gone = True
        elif RunClaims(self._folder).is_asked_to_stop():
            interruption.stop(get_ident())
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
