"""Rows taken from a tensor, and their gradients brought back without adding row by row.

What torch would do to bring them back deterministically is sort the rows, anew in every layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def gathered(source: Tensor, order: Tensor, readers: Tensor, reader_ends: Tensor) -> Tensor:
    """``source[order]``. What comes back to a row is added up in float32, in a fixed order, by one kernel.

    Args:
        source: ``[N, ...]``.
        order: ``[K]`` int64.
        readers: ``[K]`` int64: the entries of ``order``, for one row of ``source`` after the other
            (``packing.readers_of``).
        reader_ends: ``[N + 1]`` int64: where each row's part of ``readers`` begins.

    Returns:
        ``[K, ...]``.
    """
    rows: Tensor = _Gather.apply(source, order, readers, reader_ends)  # type: ignore[no-untyped-call]
    return rows


def permuted(source: Tensor, order: Tensor, places: Tensor) -> Tensor:
    """``source[order]``, each row once; ``places`` is the way back."""
    rows: Tensor = _Permute.apply(source, order, places)  # type: ignore[no-untyped-call]
    return rows


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, order: Tensor, readers: Tensor, reader_ends: Tensor) -> Tensor:
        ctx.save_for_backward(readers, reader_ends)
        return source[order]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = gradients
        readers, reader_ends = ctx.saved_tensors
        sums, *_ = torch.embedding_bag(gradient.flatten(1), readers, reader_ends, include_last_offset=True)
        return sums.view(-1, *gradient.shape[1:]), None, None, None


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, order: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return source[order]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        (places,) = ctx.saved_tensors
        return gradient[places], None, None
