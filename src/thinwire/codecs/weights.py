"""What each row of the embedding table weighs in a fit, and how often it is drawn in a training."""

import torch
from torch import Tensor

from thinwire.config import CodecConfig
from thinwire.errors import ThinwireError


def row_weights(counts: Tensor, config: CodecConfig) -> Tensor:
    """Weights ``[V]`` from the occurrences ``counts`` (``[V]``), float64: the count, its square root, or 1.

    Counts make a codec best for the token stream. They follow Zipf's law, so that a few hundred rows are most of the
    weight; the square root gives the rarer rows more say, and 1 asks for nothing but the vocabulary.
    """
    weights = counts.to(torch.float64)
    if not (weights >= 0).all() or not weights.sum() > 0:
        raise ThinwireError("a codec needs counts that are non-negative and not all zero: no token was seen")
    if config.weighting == "sqrt":
        return weights.sqrt()
    return torch.ones_like(weights) if config.weighting == "uniform" else weights


def row_shares(counts: Tensor, uniform_share: float) -> Tensor:
    """Probabilities ``[V]`` of drawing each row: by its occurrences ``counts`` (``[V]``), and some of it uniformly."""
    return counts / counts.sum() * (1 - uniform_share) + uniform_share / len(counts)
