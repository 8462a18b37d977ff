"""Intervals of one estimate alone, from its resamples: percentiles, and Efron's correction of them."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]

from thinwire.stats.pairing import Floats


def percentile_ends(draws: Floats, tails: Floats) -> tuple[float, float]:
    """Return the quantiles of ``[B]`` draws at the two ``tails``."""
    low, high = np.quantile(draws, tails)
    return float(low), float(high)


def bca_ends(draws: Floats, tails: Floats, differences: Floats, sizes: Floats) -> tuple[float, float]:
    """Return the ends of Efron's interval (1987, "Better Bootstrap Confidence Intervals").

    Args:
        draws: ``[B]`` estimates of resamples.
        tails: the two shares of an uncorrected interval.
        differences: ``[G]`` sums by paragraph; the acceleration is their jackknife's.
        sizes: ``[G]`` questions by paragraph.
    """
    num, estimate = len(draws), differences.sum() / sizes.sum()
    # Resamples equal to the estimate count half. All on one side would be an infinite bias.
    below = ((draws < estimate).mean() + (draws <= estimate).mean()) / 2
    bias = ndtri(np.clip(below, 1 / (num + 1), num / (num + 1)))
    left_out = (differences.sum() - differences) / (sizes.sum() - sizes)
    pull = left_out.mean() - left_out
    acceleration = float((pull**3).sum() / (6 * (pull**2).sum() ** 1.5))
    shifted = bias + ndtri(tails)
    # An acceleration is at most 1/6 in size, so this is positive for any usual number of resamples.
    return percentile_ends(draws, ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, 1e-3)))
