"""What each row of the embedding table weighs in a fit, and how often it is drawn in a training."""

import torch
from torch import Tensor

from thinwire.config import Weighting
from thinwire.errors import ThinwireError


def row_weights(counts: Tensor, weighting: Weighting) -> Tensor:
    """Weights ``[V]`` from the occurrences ``counts`` (``[V]``), float64: the count, its square root, or 1.

    Counts make the mean over the token stream best. They follow Zipf's law, so that a few hundred rows are most of the
    weight; the square root gives the rarer rows more say, and 1 asks for nothing but the vocabulary.
    """
    weights = counts.to(torch.float64)
    if not (weights >= 0).all() or not weights.sum() > 0:
        raise ThinwireError("a fit needs counts that are non-negative and not all zero: no token was seen")
    if weighting == "sqrt":
        return weights.sqrt()
    return torch.ones_like(weights) if weighting == "uniform" else weights


def row_shares(weights: Tensor, uniform_share: float) -> Tensor:
    """Probabilities ``[V]`` of drawing each row: by its ``weights`` (``[V]``), and some of it uniformly."""
    return weights / weights.sum() * (1 - uniform_share) + uniform_share / len(weights)
