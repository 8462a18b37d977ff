"""Masks of LoRA dropout: four 16-bit random numbers from each 64-bit draw.

That is several times as fast as torch's own dropout, which draws once for each entry, both on a CPU and in compiled
code on a GPU ("Dropout masks" in docs/performance/log.md).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thinwire.ops.threads import parallel_for

CHUNK_ENTRIES = 2**19
"""Entries that a core draws at a time: their random numbers, 1 MiB, still lie in its cache when they are compared."""


@torch.library.custom_op("thinwire::keep_mask", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def keep_mask(like: Tensor, probability: float, module: str = "") -> Tensor:
    """Draw a dropout mask of ``like``'s shape, bool: each entry is False with ``probability``, else True.

    The seed comes from torch's generator of ``like``'s device. ``probability`` is rounded to a multiple of 2^-16.
    ``module`` only tells calls apart: a compiler merges two calls with the same arguments, and the query, key and value
    projections, which have the same input, would share one mask.
    """
    least = round(probability * 2**16) - 2**15
    if like.device.type == "cpu":
        return _draw_on_cpu(like.numel(), least).view(like.shape)
    num_draws = -(-like.numel() // 4)
    draws = torch.empty(num_draws, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    return (draws.view(torch.int16) >= least)[: like.numel()].view(like.shape)


@keep_mask.register_fake
def _(like: Tensor, probability: float, module: str = "") -> Tensor:
    return torch.empty(like.shape, dtype=torch.bool, device=like.device)


def _draw_on_cpu(length: int, least: int) -> Tensor:
    """Draw ``length`` 16-bit numbers on all cores; return ``[length]`` bool, whether each is at least ``least``.

    Each chunk has a generator of its own, seeded by torch's generator, so the result does not depend on the number of
    cores.
    """
    kept = torch.empty(length, dtype=torch.bool)
    into = kept.numpy()
    seed = int(torch.randint(2**63 - 1, ()))

    def draw(start: int) -> None:
        chunk = into[start : start + CHUNK_ENTRIES]
        # Numpy draws twice as fast as torch and compares three times as fast.
        draws = np.random.Generator(np.random.SFC64([seed, start]))
        numbers = draws.integers(0, 2**64 - 1, -(-len(chunk) // 4), np.uint64, endpoint=True).view(np.int16)
        np.greater_equal(numbers[: len(chunk)], least, out=chunk)

    parallel_for(draw, range(0, length, CHUNK_ENTRIES))
    return kept
