"""Infer what a sample says of its contrasts: simultaneous intervals, p-values, or that there is too little to say.

Simultaneous intervals are ``estimate +- c * standard error`` (see ``critical``), or a bound where hardly any paragraph
differs (see ``small_samples``). No interval has zero width: where nothing varies, that is not known of the paragraphs
that were not asked.

Everything is in fractions (0.02 is two F1 points). Nothing here returns NaN.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import stdtrit  # type: ignore[import-untyped]

from thinwire.stats.critical import critical_values, holm, p_values
from thinwire.stats.pairing import Floats
from thinwire.stats.pointwise import bca_ends, percentile_ends
from thinwire.stats.resampling import ZERO, Design, resample
from thinwire.stats.small_samples import LEAST_DIFFERING, Ties, count_ties, effective_paragraphs, refusal
from thinwire.stats.words import QUESTIONS, Words

ComparisonOutcome = Literal["compared", "no difference", "same difference", "few differences", "too few"]
"""Only "too few" has no interval. Those of the three before it are bounds (see ``small_samples.Ties``)."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Both ends, as fractions."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """How well one estimate is known. What cannot be said is None, and ``reason`` says why."""

    outcome: ComparisonOutcome
    reason: str | None
    """Why the outcome is not "compared"; None where it is."""
    question_variance: float | None = None
    """The part of the squared standard error that comes from which paragraphs were asked."""
    seed_variance: float | None = None
    """The part that comes from which runs were trained; 0 where the intervals do not cover seeds."""
    standard_error: float | None = None
    """None where the interval is a bound, as are ``critical`` and the two variances."""
    effective_paragraphs: float | None = None
    """Number of equal paragraphs that would vary as these do."""
    seed_degrees: int = 0
    """Degrees of freedom of the pooled variance over seeds; 0 where the intervals do not cover them."""
    percentile: Interval | None = None
    """Of this estimate alone, from its resamples; too narrow with few paragraphs or seeds."""
    bca: Interval | None = None
    """Efron 1987, "Better Bootstrap Confidence Intervals". Like ``percentile``."""
    simultaneous: Interval | None = None
    critical: float | None = None
    """Standard errors from the estimate to either end of ``simultaneous``."""
    p_value: float | None = None
    """Two-sided, of this estimate alone."""
    adjusted_p_value: float | None = None
    """Holm's, over all estimates of the comparison."""


def infer(
    design: Design,
    *,
    confidence: float,
    num_resamples: int,
    rng: np.random.Generator,
    pointwise: bool = True,
    words: Words = QUESTIONS,
) -> list[Uncertainty]:
    """Return the uncertainty of each contrast; without ``pointwise``, only what holds for all of them together.

    Where some contrasts are bounded, each of them takes its part of the error rate, and the others the rest.
    """
    num, alpha = design.differences.shape[1], 1 - confidence
    if reason := refusal(design.sizes, words):
        return [Uncertainty(outcome="too few", reason=reason)] * num
    ties = [
        count_ties(design.differences[:, k], design.sizes, float(np.abs(design.weights[:, k]).sum() / 2))
        for k in range(num)
    ]
    compared = [k for k in range(num) if ties[k].differing >= LEAST_DIFFERING]
    found: dict[int, Uncertainty] = {}
    if compared:
        share = alpha * len(compared) / num
        resampled = _resampled(design.only(compared), alpha, share, num_resamples, rng, pointwise=pointwise)
        found = dict(zip(compared, resampled, strict=True))
    for k in set(range(num)) - set(compared):
        found[k] = _bounded(design, k, ties[k], alpha, alpha / num, words)
    ordered = [found[k] for k in range(num)]
    adjusted = holm([one.p_value or 0.0 for one in ordered])
    return [replace(one, adjusted_p_value=p) for one, p in zip(ordered, adjusted, strict=True)]


def _resampled(
    design: Design, alpha: float, share: float, num_resamples: int, rng: np.random.Generator, *, pointwise: bool
) -> list[Uncertainty]:
    draws, deviations = resample(design, num_resamples, rng)
    criticals = critical_values(design, deviations, share, rng)
    tails = np.array([alpha / 2, 1 - alpha / 2])
    found = []
    for k, (critical, p_value) in enumerate(zip(criticals, p_values(design, deviations), strict=True)):
        centre, error = float(design.estimates[k]), float(design.standard_errors[k])
        percentile = bca = None
        if pointwise:
            percentile = _interval(*percentile_ends(draws[:, k], tails))
            bca = _interval(*bca_ends(draws[:, k], tails, design.differences[:, k], design.sizes))
        found.append(
            Uncertainty(
                outcome="compared",
                reason=None,
                question_variance=float(design.question_variance[k]),
                seed_variance=float(design.seed_variance[k]),
                standard_error=error,
                effective_paragraphs=effective_paragraphs(design.sizes),
                seed_degrees=design.run_degrees if design.seed_variance[k] > 0 else 0,
                percentile=percentile,
                bca=bca,
                simultaneous=_interval(centre - critical * error, centre + critical * error),
                critical=critical,
                p_value=p_value,
            )
        )
    return found


def _bounded(design: Design, k: int, ties: Ties, alpha: float, share: float, words: Words) -> Uncertainty:
    """Bound a contrast: ``alpha`` is the error rate of its own interval, ``share`` its part in the simultaneous one."""
    outcome: ComparisonOutcome = "few differences"
    from_what = f" from the common difference, {100 * ties.common:+.1f} points" if ties.common else ""
    reason = (
        f"only {ties.differing} of {ties.num_paragraphs} {words.cluster}s differ{from_what}: the interval is a bound"
    )
    if not ties.differing:
        outcome = "same difference" if ties.common else "no difference"
        reason = f"{outcome} in all {ties.num_paragraphs} {words.cluster}s: the interval is a bound"
    own = _interval(*_bound(design, k, ties, alpha))
    return Uncertainty(
        outcome=outcome,
        reason=reason,
        percentile=own,
        bca=own,
        simultaneous=_interval(*_bound(design, k, ties, share)),
        p_value=_bound_p_value(design, k, ties),
    )


def _bound(design: Design, k: int, ties: Ties, alpha: float) -> tuple[float, float]:
    """Return the bound over paragraphs; the luck of seeds, where there is some, is added and takes half of alpha."""
    seeds = float(design.seed_variance[k])
    if seeds < ZERO**2:
        return ties.bound(alpha)
    low, high = ties.bound(alpha / 2)
    luck = -float(stdtrit(design.run_degrees, alpha / 4)) * seeds**0.5
    return low - luck, high + luck


def _bound_p_value(design: Design, k: int, ties: Ties) -> float:
    """Return the smallest error rate at which the bound leaves out 0, by bisection of its exponent; at most 1."""
    if not ties.common:
        return 1.0  # the bound of what differs from 0 always holds 0
    few, many = -16.0, 0.0
    for _ in range(40):
        middle = (few + many) / 2
        low, high = _bound(design, k, ties, 10.0**middle)
        few, many = (few, middle) if low > 0 or high < 0 else (middle, many)
    return float(10.0**many)


def _interval(low: Floats | float, high: Floats | float) -> Interval:
    return Interval(low=float(low), high=float(high))
