"""Find how many standard errors a simultaneous interval reaches, and the p-values that agree with it.

Two distributions of the largest studentised deviation are looked at, and the wider one counts. The resampled one
(Westfall & Young 1993; Romano & Wolf 2005) follows skew; it is erratic with few paragraphs. The normal one with the
estimates' correlation, widened by Student's t, does not follow skew but holds with few paragraphs; its degrees of
freedom are Satterthwaite's, of a variance over the effective number of paragraphs plus a variance over seeds (in the
spirit of Bell & McCaffrey 2002 and Imbens & Kolesar 2016). With many paragraphs both agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # type: ignore[import-untyped]

from thinwire.stats.pairing import Floats
from thinwire.stats.resampling import Design


def critical_values(design: Design, deviations: Floats, alpha: float, rng: np.random.Generator) -> list[float]:
    """Return each contrast's critical value, so that all intervals together miss in a share ``alpha`` of cases.

    Args:
        design: of the same contrasts as the deviations.
        deviations: ``[B, C]``, studentised.
    """
    resampled = _order_statistic(np.abs(deviations).max(1), alpha)
    normal = _normal_critical(design, alpha, len(deviations), rng)
    return [
        max(student(resampled, design.seed_degrees(k)), student(normal, design.degrees_of_freedom(k)))
        for k in range(deviations.shape[1])
    ]


def p_values(design: Design, deviations: Floats) -> list[float]:
    """Return two-sided p-values, of each contrast alone: below ``alpha`` where its own interval leaves out 0.

    The resampled ones have one added in numerator and denominator (Davison & Hinkley 1997, 4.2).
    """
    found = []
    for k, observed in enumerate(np.abs(design.estimates) / design.standard_errors):
        least = as_normal(float(observed), design.seed_degrees(k))
        resampled = (1 + (np.abs(deviations[:, k]) >= least).sum()) / (len(deviations) + 1)
        found.append(max(float(resampled), 2 * float(stdtr(design.degrees_of_freedom(k), -observed))))
    return found


def student(normal: float, df: float) -> float:
    """Return the value of Student's t whose tail is that of ``normal``."""
    return normal if math.isinf(df) else -float(stdtrit(df, ndtr(-normal)))


def as_normal(value: float, df: float) -> float:
    """Return the normal value whose tail is that of ``value`` in Student's t."""
    return value if math.isinf(df) else -float(ndtri(stdtr(df, -value)))


def holm(found: Sequence[float]) -> list[float]:
    """Apply Holm's step-down adjustment: the i-th smallest of m (from 0) times m - i, never falling, at most 1."""
    order = sorted(range(len(found)), key=found.__getitem__)
    steps = accumulate((min(1.0, (len(order) - i) * found[k]) for i, k in enumerate(order)), max)
    adjusted = dict(zip(order, steps, strict=True))
    return [adjusted[k] for k in range(len(order))]


def _normal_critical(design: Design, alpha: float, num_draws: int, rng: np.random.Generator) -> float:
    correlation = design.covariance / np.outer(design.standard_errors, design.standard_errors)
    if len(correlation) == 1:
        return -float(ndtri(alpha / 2))
    values, vectors = np.linalg.eigh(correlation)
    draws = rng.standard_normal((num_draws, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    return _order_statistic(np.abs(draws).max(1), alpha)


def _order_statistic(values: Floats, alpha: float) -> float:
    # The one at or above the wanted share of num + 1, to agree with the p-values.
    return float(np.sort(values)[min(len(values), math.ceil((1 - alpha) * (len(values) + 1))) - 1])
