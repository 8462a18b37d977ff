"""The reconstruction loss: cosine similarity and relative squared error."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def reconstruction_terms(
    predicted: Tensor, target: Tensor, counts: Tensor, mean_square: float
) -> tuple[Tensor, Tensor]:
    """Compute cosine similarity and relative squared error, summed over tokens with their counts as weights.

    Args:
        predicted: ``[..., U, D]`` reconstructed embeddings, float32.
        target: ``[U, D]`` rows of the embedding matrix.
        counts: ``[U]`` occurrences of each row.
        mean_square: count-weighted mean square of the matrix's entries. It normalises the error across models:
            predicting zero costs 1.

    Returns:
        Two tensors ``[...]``: sum of count x cosine, and sum of count x mean squared error / ``mean_square``.
    """
    cosine = F.cosine_similarity(predicted, target.float(), dim=-1)
    error = (predicted - target.float()).square().mean(-1) / mean_square
    return (counts * cosine).sum(-1), (counts * error).sum(-1)


def matrix_mean_square(matrix: Tensor, counts: Tensor) -> float:
    """Compute the mean square of the entries of ``matrix`` ``[V, D]``, row ``i`` weighted by ``counts[i]``."""
    weights = (counts / counts.sum()).to(matrix.device, torch.float64)
    total = torch.zeros((), dtype=torch.float64, device=matrix.device)
    for rows, block in zip(matrix.split(8192), weights.split(8192), strict=True):
        total += block @ rows.double().square().mean(-1)
    return float(total)
