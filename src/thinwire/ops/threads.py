"""Run many small pieces of work on a CPU, each on one core.

Torch splits each operation over all cores. If operations take a tenth of a millisecond, a fifth of the time goes to
splitting them, to cores waiting for each other and to Python preparing the next one (docs/performance/log.md). Here
each core computes whole pieces, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import torch

Piece = TypeVar("Piece")


@contextmanager
def computing_with(number: int | None) -> Iterator[None]:
    """Let torch compute with ``number`` threads within the block; None leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def parallel_for(work: Callable[[Piece], None], pieces: Iterable[Piece]) -> None:
    """Call ``work`` on every piece, without gradients, in as many threads as torch uses.

    Pieces are started in their order and must not depend on each other. A single piece runs in the calling thread. An
    exception of a piece is raised here.
    """
    pieces = list(pieces)
    waiting = iter(pieces)  # a list's iterator may be shared by threads
    num_threads = torch.get_num_threads()
    busy = min(num_threads, len(pieces))
    if busy <= 1:
        _work_through(work, waiting)
    else:
        for done in [_thread_pool(num_threads).submit(_work_through, work, waiting) for _ in range(busy)]:
            done.result()


@torch.no_grad()
def _work_through(work: Callable[[Piece], None], waiting: Iterator[Piece]) -> None:
    for piece in waiting:
        work(piece)


@lru_cache(maxsize=1)
def _thread_pool(num_threads: int) -> ThreadPoolExecutor:
    """Start ``num_threads`` threads in each of which torch computes on one core."""
    all_started = Barrier(num_threads)

    def initialize() -> None:
        torch.get_num_threads()  # the first call in a thread sets the thread's number to the process's
        torch.set_num_threads(1)
        all_started.wait()

    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="thinwire", initializer=initialize)
    # Each task starts a thread, and ends when all threads have started.
    for future in [pool.submit(int) for _ in range(num_threads)]:
        future.result()
    torch.set_num_threads(num_threads)  # the pool's threads changed the process's default for new threads to 1
    return pool
