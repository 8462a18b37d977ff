"""Gather rows of a tensor, with a deterministic backward pass.

For a deterministic gradient torch would sort the gathered indices anew in every layer. The inverse index, which lists
the entries that name each row, is made once and used in all layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.ops.device import sent

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class InverseIndex:
    """For each of ``N`` rows, the entries of an order ``[K]`` that name it.

    Most rows are named by one entry, and their gradient is that entry's. Gradients of the ``R`` shared rows, which
    several entries name, are added up.
    """

    single: Tensor
    """``[N]`` int64: the first entry that names each row."""
    shared: Tensor
    """``[M]`` int64: all entries that name the shared rows, one row's after the other's."""
    shared_ends: Tensor
    """``[R + 1]`` int64: where each shared row's part of ``shared`` begins."""
    slots: Tensor
    """``[N]`` int64: each row's index among the shared rows, or -1."""

    @property
    def num_shared(self) -> int:
        """The number of shared rows, ``R``."""
        return len(self.shared_ends) - 1

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, in a fixed order."""
        return [self.single, self.shared, self.shared_ends, self.slots]

    def to(self, device: torch.device) -> InverseIndex:
        """Copy the index to ``device``."""
        return InverseIndex(
            single=sent(self.single, device),
            shared=sent(self.shared, device),
            shared_ends=sent(self.shared_ends, device),
            slots=sent(self.slots, device),
        )

    def repeated(self, copies: Tensor, num_entries: int) -> InverseIndex:
        """Return the index of ``times`` copies of the rows and of the order, laid end to end.

        Args:
            copies: ``[times, 1]`` int64: the copies' numbers, from 0.
            num_entries: length of the order, ``K``.
        """
        slots = copies * self.num_shared + self.slots
        return InverseIndex(
            single=(copies * num_entries + self.single).flatten(),
            shared=(copies * num_entries + self.shared).flatten(),
            shared_ends=repeated_ends(self.shared_ends, copies, len(self.shared)),
            slots=torch.where(self.slots < 0, -1, slots).flatten(),
        )


def repeated_ends(ends: Tensor, copies: Tensor, total: int) -> Tensor:
    """Repeat the boundaries ``ends`` of parts for copies of ``total`` entries each; ``copies`` as in
    ``InverseIndex.repeated``."""
    return torch.cat([(copies.to(ends.dtype) * total + ends[:-1]).flatten(), ends[-1:] * len(copies)])


def inverse_index_of(order: Rows, num_shared: int = 2) -> InverseIndex:
    """Make the inverse index of an ``order`` that names every row at least once.

    Args:
        num_shared: least number of rows that count as shared; unshared rows fill up the number. Kernels with static
            shapes need the same number each time, and a compiler specialises on a dimension of 1.
    """
    counts = np.bincount(order)
    by_row, ends = np.argsort(order, kind="stable"), counts.cumsum()
    starts = ends - counts
    shared = np.flatnonzero(counts > 1)
    rows = np.concatenate([shared, np.flatnonzero(counts == 1)[: max(0, num_shared - len(shared))]])
    slots = np.full(len(counts), -1)
    slots[rows] = np.arange(len(rows))
    return InverseIndex(
        single=torch.from_numpy(by_row[starts]),
        shared=torch.from_numpy(by_row[ranges(starts[rows], counts[rows])]),
        shared_ends=torch.from_numpy(np.concatenate([[0], counts[rows].cumsum()])),
        slots=torch.from_numpy(slots),
    )


def ranges(starts: Rows, lengths: Rows) -> Rows:
    """Concatenate ``arange(start, start + length)`` of all starts and lengths."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1])


def gathered(source: Tensor, order: Tensor, inverse_index: InverseIndex) -> Tensor:
    """Return ``source[order]``. Gradients of a row are added up in float32, in a fixed order.

    Args:
        source: ``[N, ...]``.
        order: ``[K]`` int64.
        inverse_index: of this order.

    Returns:
        ``[K, ...]``.
    """
    rows: Tensor = _Gather.apply(source, order, *inverse_index.tensors)  # type: ignore[no-untyped-call]
    return rows


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, order: Tensor, *inverse_index: Tensor) -> Tensor:
        ctx.save_for_backward(*inverse_index)
        return source.index_select(0, order)  # on a CPU, source[order] takes five times as long

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        single, shared, shared_ends, slots = ctx.saved_tensors
        rows = gradient.flatten(1)
        sums, *_ = torch.embedding_bag(rows, shared, shared_ends, include_last_offset=True)
        to_source = torch.where(slots[:, None] < 0, rows[single], sums[slots.clamp_min(0)])
        return to_source.view(-1, *gradient.shape[1:]), None, None, None, None, None
