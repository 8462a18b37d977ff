"""The actors of a sweep on a Ray cluster: workers, and the one by which they are told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from thinwire import interruption
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment.executors.peer import run_peer
from thinwire.experiment.run_claims import RunClaims


class Worker:
    """An actor: runs arms of a sweep in the main thread of its process, where interruptions arrive."""

    def begin(self) -> str:
        """Return the host, once the actor has been placed."""
        return socket.gethostname()

    def run(self, folder: str, stop: Any) -> ThinwireError | None:
        """Run arms of the sweep in ``folder`` until all have ended, or until it is stopped.

        A signal that does not come from the sweep, as of a node that is drained, ends the process after its optimiser
        step, and Ray starts the actor again.

        Args:
            stop: handle of the ``Stop`` actor.

        Returns:
            Why this worker cannot go on; None if all arms have ended or it has been stopped.
        """
        before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
        interruption.install()
        listener = _Listener(stop)
        listener.start()
        try:
            if not Path(folder).is_dir():
                raise UsageError(
                    f"{folder} is not there on {socket.gethostname()}; choose a folder that all nodes of the cluster "
                    "see under the same path (--output)"
                )
            run_peer(Path(folder))
        except interruption.Interrupted:
            if RunClaims(Path(folder)).is_asked_to_stop():
                return ThinwireError("the run was cancelled; --resume goes on with it")
            if not listener.is_told:
                sys.stderr.flush()
                os._exit(128 + (interruption.received() or signal.SIGTERM))
        except ThinwireError as error:
            return error.with_traceback(None)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return None


class _Listener(Thread):
    """Interrupts the main thread when the sweep says so.

    Ray interrupts no method of an actor (``ray.cancel`` sets a flag), and calls no second one beside the main thread's.
    """

    def __init__(self, stop: Any) -> None:
        super().__init__(name="stop", daemon=True)
        self._stop_actor = stop
        self.is_told = False
        """Whether the sweep has told this worker to stop."""

    def run(self) -> None:
        import ray

        with suppress(ray.exceptions.RayError):  # without the actor, the sweep ends its workers by force
            ray.get(self._stop_actor.wait.remote())
            self.is_told = True
            interruption.stop()


class Stop:
    """An actor by which the sweep tells all workers to stop."""

    def __init__(self) -> None:
        self._is_sent = asyncio.Event()

    async def send(self) -> None:
        """Tell them."""
        self._is_sent.set()

    async def wait(self) -> None:
        """Return once they are told."""
        await self._is_sent.wait()
