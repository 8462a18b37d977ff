"""Masks of LoRA dropout: four 16-bit numbers from each 64-bit draw.

That is several times as fast as torch's own dropout, which draws once for each entry: on a processor, and in compiled
code on a GPU (docs/performance.md).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thinwire.workers import side_by_side

_PIECE = 2**19
"""Entries that a core draws at a time: their numbers, 1 MiB, are still in its own cache when they are compared."""


@torch.library.custom_op("thinwire::keep_mask", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def keep_mask(like: Tensor, share: float, module: str = "") -> Tensor:
    """True but for a ``share`` of its entries, of ``like``'s shape; seeded by torch's generator of its device.

    ``share`` is rounded to a multiple of 2^-16. ``module`` does nothing but tell calls apart: a compiler takes two
    calls with the same arguments for one value, and the query, key and value projections, which read the same input,
    would share their mask.
    """
    least = round(share * 2**16) - 2**15
    if like.device.type == "cpu":
        return _drawn_by_all_cores(like.numel(), least).view(like.shape)
    num_draws = -(-like.numel() // 4)
    draws = torch.empty(num_draws, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    return (draws.view(torch.int16) >= least)[: like.numel()].view(like.shape)


@keep_mask.register_fake
def _(like: Tensor, share: float, module: str = "") -> Tensor:
    return torch.empty(like.shape, dtype=torch.bool, device=like.device)


def _drawn_by_all_cores(length: int, least: int) -> Tensor:
    """``[length]`` bool: which of so many 16-bit numbers are at least ``least``. They depend on torch's generator
    alone, not on how many cores there are: each piece is drawn by a generator of its own."""
    kept = torch.empty(length, dtype=torch.bool)
    into = kept.numpy()
    seed = int(torch.randint(2**63 - 1, ()))

    def draw(start: int) -> None:
        piece = into[start : start + _PIECE]
        # Numpy draws twice as fast as torch and compares three times as fast.
        draws = np.random.Generator(np.random.SFC64([seed, start]))
        numbers = draws.integers(0, 2**64 - 1, -(-len(piece) // 4), np.uint64, endpoint=True).view(np.int16)
        np.greater_equal(numbers[: len(piece)], least, out=piece)

    side_by_side(draw, range(0, length, _PIECE))
    return kept
