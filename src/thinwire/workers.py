"""Many small pieces of work on a processor, each done by one of its cores.

Torch lets all cores share each operation. Where these take a tenth of a millisecond, a fifth of the time goes to
dividing them, to waiting for each other and for Python to prepare the next (docs/performance.md). Here every core does
whole pieces, one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier
from typing import TypeVar

import torch

Piece = TypeVar("Piece")


def side_by_side(work: Callable[[Piece], None], pieces: Iterable[Piece]) -> None:
    """Do ``work`` on every piece, in as many threads as torch uses, without gradients; on a single piece here.

    Pieces are begun in their order and must not depend on each other. What one of them raises is raised here.
    """
    pieces = list(pieces)
    waiting = iter(pieces)  # a list's iterator may be shared by threads
    number = torch.get_num_threads()
    busy = min(number, len(pieces))
    if busy <= 1:
        _work_through(work, waiting)
    else:
        for done in [_workers(number).submit(_work_through, work, waiting) for _ in range(busy)]:
            done.result()


@torch.no_grad()
def _work_through(work: Callable[[Piece], None], waiting: Iterator[Piece]) -> None:
    for piece in waiting:
        work(piece)


@lru_cache(maxsize=1)
def _workers(number: int) -> ThreadPoolExecutor:
    """Threads in which torch computes with a single one."""
    all_begun = Barrier(number)

    def begin() -> None:
        torch.get_num_threads()  # the first call in a thread gives it the process's number
        torch.set_num_threads(1)
        all_begun.wait()

    pool = ThreadPoolExecutor(number, thread_name_prefix="thinwire", initializer=begin)
    # Each begins a thread, and is done when all have begun.
    for nothing in [pool.submit(int) for _ in range(number)]:
        nothing.result()
    torch.set_num_threads(number)  # for threads that others begin: the workers' setting became the process's
    return pool
