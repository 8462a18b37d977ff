"""The interval of one run's own mean score, over the paragraphs that were asked about."""

from __future__ import annotations

import numpy as np

from thinwire.stats.inference import Interval
from thinwire.stats.pairing import Run, panel, paragraph_weights
from thinwire.stats.pointwise import bca_ends
from thinwire.stats.small_samples import refusal


def mean_interval(run: Run, *, confidence: float = 0.95, num_resamples: int = 10_000, rng: int = 0) -> Interval | None:
    """Return Efron's bootstrap interval (BCa) of a run's mean score, resampling whole paragraphs.

    It covers which paragraphs were asked about, not the luck of training.

    Args:
        rng: seed of the resamples.

    Returns:
        None where the paragraphs are too few, or all have the same mean, which says nothing of others.
    """
    data = panel([run])
    sums, sizes = data.sums[:, 0], data.sizes
    if refusal(sizes) or np.ptp(sums / sizes) == 0:
        return None
    generator = np.random.default_rng(rng)
    draws = [(w @ sums) / (w @ sizes) for w in paragraph_weights(len(sizes), num_resamples, generator)]
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = bca_ends(np.concatenate(draws), tails, sums, sizes)
    return Interval(low=low, high=high)
