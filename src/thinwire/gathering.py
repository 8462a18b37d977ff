"""Rows taken from a tensor, and their gradients brought back.

What torch would do to bring them back deterministically is sort the rows, anew in every layer. Here that is done once:
who reads each row is known before (``Readers``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.transfer import sent

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Readers:
    """For each of ``N`` rows, the entries of an order ``[K]`` that name it.

    Most rows have one reader, and their gradient is taken from there. Those of the ``R`` shared rows are added up.
    """

    single: Tensor
    """``[N]`` int64: of each row, the first of its readers."""
    shared: Tensor
    """``[M]`` int64: all readers of the shared rows, one row's after the other's."""
    shared_ends: Tensor
    """``[R + 1]`` int64: where each shared row's part of ``shared`` begins."""
    slots: Tensor
    """``[N]`` int64: each row's place among the shared ones, or -1."""

    @property
    def num_shared(self) -> int:
        """``R``."""
        return len(self.shared_ends) - 1

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, in a fixed order."""
        return [self.single, self.shared, self.shared_ends, self.slots]

    def to(self, device: torch.device) -> Readers:
        """The same on ``device``."""
        return Readers(
            single=sent(self.single, device),
            shared=sent(self.shared, device),
            shared_ends=sent(self.shared_ends, device),
            slots=sent(self.slots, device),
        )

    def repeated(self, copies: Tensor, num_entries: int) -> Readers:
        """The same for copies of the rows and of the order, which has ``num_entries``, each behind the other.

        Args:
            copies: ``[times, 1]`` int64: their numbers, from 0.
        """
        slots = copies * self.num_shared + self.slots
        return Readers(
            single=(copies * num_entries + self.single).flatten(),
            shared=(copies * num_entries + self.shared).flatten(),
            shared_ends=repeated_ends(self.shared_ends, copies, len(self.shared)),
            slots=torch.where(self.slots < 0, -1, slots).flatten(),
        )


def repeated_ends(ends: Tensor, copies: Tensor, total: int) -> Tensor:
    """Where parts begin that are repeated, ``total`` entries each time. ``copies`` as ``Readers.repeated`` has them."""
    return torch.cat([(copies.to(ends.dtype) * total + ends[:-1]).flatten(), ends[-1:] * len(copies)])


def readers_of(order: Rows, num_shared: int = 2) -> Readers:
    """Who reads each row, by an ``order`` that names every row at least once.

    Args:
        num_shared: have at least so many rows count as shared, whether they are or not: what computes with tensors of
            fixed sizes needs the same number each time, and a compiler makes an exception of a single one.
    """
    counts = np.bincount(order)
    by_row, ends = np.argsort(order, kind="stable"), counts.cumsum()
    starts = ends - counts
    shared = np.flatnonzero(counts > 1)
    rows = np.concatenate([shared, np.flatnonzero(counts == 1)[: max(0, num_shared - len(shared))]])
    slots = np.full(len(counts), -1)
    slots[rows] = np.arange(len(rows))
    return Readers(
        single=torch.from_numpy(by_row[starts]),
        shared=torch.from_numpy(by_row[ranges(starts[rows], counts[rows])]),
        shared_ends=torch.from_numpy(np.concatenate([[0], counts[rows].cumsum()])),
        slots=torch.from_numpy(slots),
    )


def ranges(starts: Rows, lengths: Rows) -> Rows:
    """``arange(start, start + length)`` of each, end to end."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1])


def gathered(source: Tensor, order: Tensor, readers: Readers) -> Tensor:
    """``source[order]``. What comes back to a row is added up in float32, in a fixed order.

    Args:
        source: ``[N, ...]``.
        order: ``[K]`` int64.
        readers: of this order.

    Returns:
        ``[K, ...]``.
    """
    rows: Tensor = _Gather.apply(source, order, *readers.tensors)  # type: ignore[no-untyped-call]
    return rows


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, order: Tensor, *readers: Tensor) -> Tensor:
        ctx.save_for_backward(*readers)
        return source.index_select(0, order)  # by the plain index, a processor takes five times as long

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        single, shared, shared_ends, slots = ctx.saved_tensors
        rows = gradient.flatten(1)
        sums, *_ = torch.embedding_bag(rows, shared, shared_ends, include_last_offset=True)
        to_source = torch.where(slots[:, None] < 0, rows[single], sums[slots.clamp_min(0)])
        return to_source.view(-1, *gradient.shape[1:]), None, None, None, None, None
