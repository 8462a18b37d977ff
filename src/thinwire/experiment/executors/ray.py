"""The executor of a Ray cluster: one actor for each worker, on any of the cluster's nodes.

Ray only places the actors, binds each to a GPU, and starts them again where a process or a node is lost. What is to be
run, and what has been, is in the run's folder, which all nodes must see. Nothing depends on Ray delivering a call once.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from thinwire import interruption
from thinwire.errors import ThinwireError, UsageError, foreign, summary
from thinwire.experiment.executors.ray_actors import Stop, Worker

logger = logging.getLogger(__name__)

MOST_RESTARTS = 3
"""How often Ray may start an actor again whose process or node was lost, and call it again."""

_CONNECT_SECONDS = 10.0
"""Seconds that a cluster's port has to answer."""

_PATIENCE = 120.0
"""Seconds that workers have to finish their steps and to save what they have, once they are stopped."""

_PLACEMENT_SECONDS = 60.0
"""Seconds without a worker's beginning after which that is said."""

_FINISH_SECONDS = 20.0
"""Seconds that the other workers have to see that all arms have ended."""

_POLL_SECONDS = 0.5

_OBJECT_STORE_BYTES = 100 * 2**20
"""Memory for Ray's objects on a cluster that is started here: there are none to speak of."""

_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE")
"""Environment variables that actors need as this process has them, beside those of Thinwire."""


class Cluster:
    """A Ray cluster that this process is connected to."""

    def __init__(self, *, is_started_here: bool = False) -> None:
        """Keep what is known of it.

        Args:
            is_started_here: whether its processes have inherited this one's environment variables.
        """
        self._is_started_here = is_started_here

    def num_workers(self, *, on_gpu: bool) -> int:
        """Return how many workers there is room for: one for each GPU, or for each CPU.

        Raises:
            UsageError: there is no GPU.
        """
        import ray

        found = int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 0))
        if found == 0:
            raise UsageError(
                f"the Ray cluster has no {'GPU' if on_gpu else 'CPU'} now; say how many workers it will have room for "
                "(--workers), or use a CPU (--set model.device=cpu)"
            )
        return found

    def run(self, folder: Path, num_workers: int, *, on_gpu: bool) -> None:
        """Run the sweep in ``folder`` (``peer.ask``) by ``num_workers`` actors, until all of its arms have ended.

        Whatever ends it otherwise also stops the actors; their arms keep their resume points.

        Args:
            on_gpu: whether each actor is to have a GPU.

        Raises:
            UsageError, StorageError: a worker has said that it cannot go on.
            ThinwireError: all workers were lost before all arms had ended.
        """
        import ray

        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": int(on_gpu), "scheduling_strategy": "SPREAD"}
        options |= {"max_restarts": MOST_RESTARTS, "max_task_retries": MOST_RESTARTS}
        if not self._is_started_here:  # Ray starts a process of its own for variables, which takes seconds
            options["runtime_env"] = {"env_vars": _variables()}
        actors: list[Any] = []
        stop = ray.remote(Stop).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
        try:
            for _ in range(num_workers):
                actors.append(ray.remote(Worker).options(**options).remote())
            running = _Running(actors, str(folder.resolve()), stop)
            try:
                running.wait()
            except BaseException:
                with interruption.deferred():
                    stop.send.remote()
                    running.finish(_PATIENCE)
                raise
            running.finish(_FINISH_SECONDS)
        finally:
            for actor in (*actors, stop):
                ray.kill(actor)


class _Running:
    """The calls that have been made of workers."""

    def __init__(self, actors: Sequence[Any], folder: str, stop: Any) -> None:
        self._num_workers = len(actors)
        self._placed = {actor.begin.remote(): index for index, actor in enumerate(actors)}
        self._calls = {actor.run.remote(folder, stop): index for index, actor in enumerate(actors)}
        self._have_begun: set[int] = set()

    def wait(self) -> None:
        """Wait until a worker sees that all arms have ended.

        Raises:
            ThinwireError: a worker says that it cannot go on, or all were lost.
        """
        import ray

        until, reason = time.monotonic() + _PLACEMENT_SECONDS, ""
        while self._calls:
            interruption.check()
            ended, _ = ray.wait(list(self._calls), timeout=_POLL_SECONDS)
            self._see_placed()
            if until and time.monotonic() > until and len(self._have_begun) < self._num_workers:
                message = "%d of %d workers have begun; others begin when the Ray cluster has room (ray status)"
                logger.info(message, len(self._have_begun), self._num_workers)
                until = 0.0
            for call in ended:
                del self._calls[call]
                try:
                    error: ThinwireError | None = ray.get(call)
                except ray.exceptions.RayError as lost:
                    reason = _reason(lost)
                    logger.error("a worker was lost (%s); what it ran is run again by others", reason)
                    continue
                if error is None:
                    return
                raise error
        raise ThinwireError(
            f"all workers were lost before what there is to run ({reason}); go on with --resume once that is mended"
        )

    def finish(self, seconds: float) -> None:
        """Wait for workers that have begun to return."""
        import ray

        self._see_placed()
        if calls := [call for call, index in self._calls.items() if index in self._have_begun]:
            _, left = ray.wait(calls, num_returns=len(calls), timeout=seconds)
            if left:
                logger.warning("%d workers have not stopped within %.0f s and are ended", len(left), seconds)

    def _see_placed(self) -> None:
        import ray

        if self._placed:
            placed, _ = ray.wait(list(self._placed), num_returns=len(self._placed), timeout=0)
            for call in placed:
                index = self._placed.pop(call)
                with suppress(ray.exceptions.RayError):
                    logger.info("worker %d of %d has begun on %s", index + 1, self._num_workers, ray.get(call))
                    self._have_begun.add(index)


def _variables() -> dict[str, str]:
    """Return the environment variables that actors need as this process has them."""
    return {name: value for name, value in os.environ.items() if name.startswith("THINWIRE_") or name in _VARIABLES}


def _reason(error: BaseException) -> str:
    """Return in one line why Ray says that a call has failed."""
    cause: object = getattr(error, "cause", None)  # of a RayTaskError, whose own text is a traceback
    if isinstance(cause, BaseException):
        return f"{type(cause).__name__}: {summary(cause)}"
    return summary(error)


def check_ray() -> None:
    """Check that Ray can be used.

    Raises:
        UsageError: it is not installed.
    """
    if find_spec("ray") is None:
        raise UsageError("--executor ray needs Ray; pip install 'thinwire[ray]'")


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Be connected to a Ray cluster within the block; a connection that this process has already is used and kept.

    Args:
        address: ``auto`` (the one that this host belongs to), ``HOST:PORT`` or ``ray://HOST:PORT``; None to start one
            of this host alone, which ends with the block.

    Raises:
        UsageError: Ray is not installed, or the cluster cannot be reached.
    """
    check_ray()
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # workers' messages are alike; Ray would leave some out
    if not sys.stderr.isatty():
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    import ray

    if ray.is_initialized():
        yield Cluster()
        return
    if address is not None:
        _check_answers(address)
    with _own_handlers():
        _connect(address)
    try:
        logger.info("Ray cluster: %d nodes", sum(bool(node["Alive"]) for node in ray.nodes()))
        yield Cluster(is_started_here=address is None)
    finally:
        with interruption.deferred():
            ray.shutdown()


def _connect(address: str | None) -> None:
    import ray

    settings: dict[str, Any] = {"address": address or "local", "log_to_driver": True, "logging_level": logging.WARNING}
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        settings |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    doing = f"the Ray cluster {address} cannot be used" if address else "no Ray cluster can be started on this host"
    try:
        with foreign(doing):
            ray.init(**settings)
    except SystemExit:  # what Ray makes of SIGTERM
        raise interruption.Interrupted(signal.SIGTERM) from None


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep this process's handling of SIGTERM, which Ray sets."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if current_thread() is main_thread():
            signal.signal(signal.SIGTERM, before)


def _check_answers(address: str) -> None:
    """Check that something answers at ``address``: Ray itself tries for minutes, and says little.

    Raises:
        UsageError: nothing does.
    """
    where = address.removeprefix("ray://")
    host, _, port = where.rpartition(":")
    if "/" in where or not host or not port.isdigit():
        if address != "auto":
            raise UsageError(f"{address} is no address of a Ray cluster; write auto, HOST:PORT or ray://HOST:PORT")
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        usual = "10001" if address.startswith("ray://") else "6379"
        raise UsageError(
            f"no Ray cluster answers at {address} ({summary(error)}); start one (ray start --head) and use its "
            f"address, whose port is usually {usual}, or leave the address out to start one on this host"
        ) from None
