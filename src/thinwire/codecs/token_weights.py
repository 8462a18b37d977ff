"""Weights of the embedding matrix's rows, from the token counts of the training prompts."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from thinwire.codecs.settings import Weighting
from thinwire.errors import ThinwireError


def row_weights(counts: Tensor, weighting: Weighting) -> Tensor:
    """Return weights ``[V]``, float64, from ``counts`` (``[V]``): the count, its square root, or 1.

    Counts optimise the mean over the token stream. They follow Zipf's law, so a few hundred rows have most of the
    weight; the square root gives rarer rows more weight, and 1 weights all rows of the vocabulary alike.

    Raises:
        ThinwireError: counts are negative or all zero.
    """
    weights = counts.to(torch.float64)
    if not (weights >= 0).all() or not weights.sum() > 0:
        raise ThinwireError("a fit needs counts that are non-negative and not all zero: no token was seen")
    if weighting == "sqrt":
        return weights.sqrt()
    return torch.ones_like(weights) if weighting == "uniform" else weights


def row_probabilities(weights: Tensor, uniform_share: float) -> Tensor:
    """Return the probabilities ``[V]`` of drawing each row: by ``weights`` (``[V]``), mixed with a uniform share."""
    return weights / weights.sum() * (1 - uniform_share) + uniform_share / len(weights)


def token_counts(prompts: Sequence[Sequence[int]], vocabulary: int) -> Tensor:
    """Count how often each token id occurs in ``prompts``: ``[V]`` float64. Prompts are not padded here."""
    ids = np.concatenate([np.asarray(prompt, dtype=np.int64) for prompt in prompts])
    return torch.from_numpy(np.bincount(ids, minlength=vocabulary).astype(np.float64))
