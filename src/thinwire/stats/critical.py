"""Find how many standard errors a simultaneous interval reaches, and the p-values that agree with it.

Two distributions of the largest studentised deviation are looked at, and the wider one counts. The resampled one
(Westfall & Young 1993; Romano & Wolf 2005) follows skew; it is erratic with few paragraphs. The normal one with the
estimates' correlation, widened by Student's t, does not follow skew but holds with few paragraphs. With many paragraphs
both agree.

A variance over a few paragraphs or runs is itself badly known. Each of the two parts of a variance is therefore
multiplied by the square of its own Student's t, ``reach^2 = t(df1)^2 variance1 + t(df2)^2 variance2``, which misses no
more often than it should however the parts compare (Banerjee 1960, "Approximate confidence interval for linear
functions of means of k populations when the population variances are not equal"); Satterthwaite's single t misses more
where a few runs happen to agree. Of G effective paragraphs there are G - 1 degrees of freedom (after Carter, Schnepel &
Steigerwald 2017), of runs those of the pooled variance. Resamples allow for few paragraphs themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # type: ignore[import-untyped]

from thinwire.stats.pairing import Floats
from thinwire.stats.resampling import Design, VariancePart


def critical_values(design: Design, deviations: Floats, alpha: float, rng: np.random.Generator) -> list[float]:
    """Return each contrast's critical value, so that all intervals together miss in a share ``alpha`` of cases.

    Args:
        design: of the same contrasts as the deviations.
        deviations: ``[B, C]``, studentised.
    """
    resampled = _order_statistic(np.abs(deviations).max(1), alpha)
    normal = _normal_critical(design, alpha, len(deviations), rng)
    return [
        max(reach(resampled, *_seeds_only(design, k)), reach(normal, *design.variance_parts(k))) / float(error)
        for k, error in enumerate(design.standard_errors)
    ]


def p_values(design: Design, deviations: Floats) -> list[float]:
    """Return two-sided p-values, of each contrast alone: below ``alpha`` where its own interval leaves out 0.

    The resampled ones have one added in numerator and denominator (Davison & Hinkley 1997, 4.2).
    """
    found = []
    for k, estimate in enumerate(np.abs(design.estimates)):
        least = normal_reaching(float(estimate), *_seeds_only(design, k))
        resampled = (1 + (np.abs(deviations[:, k]) >= least).sum()) / (len(deviations) + 1)
        normal = 2 * float(ndtr(-normal_reaching(float(estimate), *design.variance_parts(k))))
        found.append(max(float(resampled), normal))
    return found


def _seeds_only(design: Design, contrast: int) -> tuple[VariancePart, VariancePart]:
    """Return the parts of a variance, that over paragraphs as if it were known."""
    paragraphs, seeds = design.variance_parts(contrast)
    return (paragraphs[0], math.inf), seeds


def reach(normal: float, *parts: VariancePart) -> float:
    """Return how far an interval goes that goes ``normal`` standard errors where all variances are known."""
    return math.sqrt(sum(student(normal, df) ** 2 * variance for variance, df in parts if variance > 0))


def normal_reaching(distance: float, *parts: VariancePart) -> float:
    """Return the number of standard errors whose ``reach`` is ``distance`` (0 or more), at most 40."""
    used = [(variance, df) for variance, df in parts if variance > 0]
    if len(used) == 1:
        return as_normal(distance / math.sqrt(used[0][0]), used[0][1])
    low, high = 0.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if reach(middle, *used) < distance else (low, middle)
    return high


def student(normal: float, df: float) -> float:
    """Return the value of Student's t whose tail is that of ``normal``."""
    return normal if math.isinf(df) else -float(stdtrit(df, ndtr(-normal)))


def as_normal(value: float, df: float) -> float:
    """Return the normal value whose tail is that of ``value`` in Student's t, at most 40."""
    return min(40.0, value if math.isinf(df) else -float(ndtri(stdtr(df, -value))))


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
