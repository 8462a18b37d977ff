"""Usage statistics of integer codes: entries in use, perplexity, and tokens with the same code."""

from __future__ import annotations

import torch
from torch import Tensor


def entry_use(codes: Tensor, size: int) -> Tensor:
    """Return the share of each codebook's ``size`` entries that occur in ``codes`` ``[N, M]``: ``[M]`` float64."""
    return (_histograms(codes, torch.ones(len(codes), device=codes.device), size) > 0).double().mean(1)


def perplexity(codes: Tensor, weights: Tensor, size: int) -> Tensor:
    """Compute exp(entropy) of each codebook's entries over ``codes`` ``[N, M]``, row ``i`` weighted by ``weights[i]``.

    Returns:
        ``[M]`` float64: 1 where all weight is on one entry, ``size`` where all entries are equally frequent.
    """
    probabilities = _histograms(codes, weights, size) / weights.double().sum()
    entropy: Tensor = torch.special.entr(probabilities).sum(1)
    return entropy.exp()


def collisions(codes: Tensor, weights: Tensor) -> Tensor:
    """Count rows of ``codes`` ``[N, M]`` whose whole code equals another row's: no decoder can tell them apart.

    Returns:
        ``[2]`` float64: their share of the rows, and of ``weights`` (``[N]``).
    """
    _, which, sizes = codes.unique(dim=0, return_inverse=True, return_counts=True)
    shared = (sizes[which] > 1).double()
    return torch.stack([shared.mean(), (shared * weights).sum() / weights.double().sum()])


def _histograms(codes: Tensor, weights: Tensor, size: int) -> Tensor:
    """Sum the weights on each entry of each codebook: ``[M, size]`` float64."""
    # One-hot products: adding into bins has no fixed order on a GPU.
    entries = torch.arange(size, device=codes.device)
    held = torch.zeros(codes.shape[1], size, dtype=torch.float64, device=codes.device)
    for rows, weight in zip(codes.split(1024), weights.double().split(1024), strict=True):
        held += torch.einsum("nms,n->ms", (rows[:, :, None] == entries).double(), weight)
    return held
