"""Estimate contrasts between groups of runs on the same questions, with simultaneous intervals over all of them.

A contrast is a weighted sum of group means whose weights sum to 0: ``{"arm": 1, "baseline": -1}`` is a gain, and
``{"arm": 1, "baseline": -1, "reference_arm": -1, "reference_baseline": 1}`` the difference between two gains, which is
an interaction. Simultaneous intervals are ``estimate +- c * standard error``, ``c`` the quantile of the largest
studentised deviation over all contrasts (Westfall & Young 1993; Romano & Wolf 2005). P-values come from the same
deviations, plus one in numerator and denominator (Davison & Hinkley 1997, 4.2), adjusted as Holm 1979 does. The
variance over a few runs is itself badly known; c and p allow for that by Student's t with Satterthwaite's degrees of
freedom.

Everything is in fractions (0.02 is two F1 points). Nothing here returns NaN.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # type: ignore[import-untyped]

from thinwire.errors import UsageError
from thinwire.stats.pairing import Floats, Run, panel
from thinwire.stats.resampling import ZERO, Design, resample

ComparisonOutcome = Literal["compared", "no difference", "same difference", "too few"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Both ends, as fractions."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What is known of one estimate, in fractions. What cannot be said is None, and ``reason`` says why."""

    outcome: ComparisonOutcome
    reason: str | None
    """Why the outcome is not "compared"; None where it is."""
    covers: str
    """The uncertainty in the intervals: "questions", or "questions and seeds", with the groups of one run whose spread
    over seeds is taken from the others."""
    num_questions: int
    num_paragraphs: int
    fewest_runs: int = 1
    """Runs (seeds) of the group that has the fewest among those compared; below 5, the spread over seeds is rough."""
    question_variance: float | None = None
    """The part of the squared standard error that comes from which paragraphs were asked."""
    seed_variance: float | None = None
    """The part that comes from which runs were trained; 0 where the intervals do not cover seeds."""
    standard_error: float | None = None
    percentile: Interval | None = None
    bca: Interval | None = None
    """Efron 1987, "Better Bootstrap Confidence Intervals". Like ``percentile``, of this estimate alone."""
    simultaneous: Interval | None = None
    critical: float | None = None
    """Standard errors from the estimate to either end of ``simultaneous``."""
    p_value: float | None = None
    """Two-sided, of this estimate alone."""
    adjusted_p_value: float | None = None
    """Holm's, over all estimates of the comparison."""


@dataclass(frozen=True, kw_only=True)
class Contrast(Inference):
    """One contrast."""

    estimate: float
    weights: dict[str, float]
    """Of the groups it is made of."""
    num_runs: dict[str, int]
    """Of the same groups."""
    means: dict[str, float]
    """Mean score of the same groups."""


@dataclass(frozen=True, kw_only=True)
class ContrastComparison:
    """All contrasts, in the order given."""

    contrasts: dict[str, Contrast]
    confidence: float
    num_resamples: int


def compare_contrasts(
    groups: Mapping[str, Sequence[Run]],
    contrasts: Mapping[str, Mapping[str, float]],
    *,
    untrained: Collection[str] = (),
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    rng: np.random.Generator | int = 0,
) -> ContrastComparison:
    """Estimate each contrast between the groups' means, each group having one or more runs.

    The intervals cover the choice of questions, and that of seeds wherever a group has several runs; they hold for
    all contrasts together.

    Args:
        groups: runs by the group's name. Groups that no contrast names still help to estimate the spread over seeds.
        contrasts: weights of groups by the contrast's name; each contrast's weights sum to 0.
        untrained: groups whose scores no seed changes, which vary over questions only.

    Raises:
        UsageError: no groups, runs or contrasts, weights of an unknown group or that do not sum to 0, runs that cannot
            be paired (see ``panel``), fewer than 100 resamples, or a confidence outside 0.5 to 1.
    """
    _check(groups, contrasts, untrained, confidence, num_resamples)
    names = list(groups)
    weights = np.array([[float(one.get(name, 0.0)) for one in contrasts.values()] for name in names])
    design = Design.of(
        panel([run for runs in groups.values() for run in runs]),
        [len(runs) for runs in groups.values()],
        weights,
        [name in untrained for name in names],
    )
    described = [_describe(design, names, k) for k in range(len(contrasts))]
    if len(design.sizes) < 2:
        inferred = [_too_few(design)] * len(contrasts)
    else:
        inferred = _infer(design, *resample(design, num_resamples, np.random.default_rng(rng)), confidence)
    found = [Contrast(**what, **how) for what, how in zip(described, inferred, strict=True)]
    named = dict(zip(contrasts, found, strict=True))
    return ContrastComparison(contrasts=named, confidence=confidence, num_resamples=num_resamples)


def _check(
    groups: Mapping[str, Sequence[Run]],
    contrasts: Mapping[str, Mapping[str, float]],
    untrained: Collection[str],
    confidence: float,
    num_resamples: int,
) -> None:
    if not contrasts or not groups or not all(groups.values()):
        raise UsageError("a comparison needs at least one contrast, and at least one run of each group")
    for name, weights in contrasts.items():
        if unknown := sorted(set(weights) - set(groups)):
            raise UsageError(f"contrast {name!r} names {unknown[0]!r}; choose among {', '.join(groups)}")
        total = sum(weights.values())
        if not any(weights.values()) or not abs(total) < ZERO:
            raise UsageError(
                f"the weights of contrast {name!r} sum to {total:g}; give weights, not all 0, that sum to 0"
            )
    if unknown := sorted(set(untrained) - set(groups)):
        raise UsageError(f"there is no group {unknown[0]!r} to be untrained; choose among {', '.join(groups)}")
    if num_resamples < 100 or not 0.5 <= confidence < 1:
        raise UsageError(f"{num_resamples} resamples, confidence {confidence}: use at least 100, and 0.5 to below 1")


def _describe(design: Design, names: Sequence[str], k: int) -> dict[str, Any]:
    members = [g for g in range(len(names)) if design.weights[g, k]]
    trained = [g for g in members if not design.untrained[g]] or members
    return {
        "estimate": float(design.estimates[k]),
        "weights": {names[g]: float(design.weights[g, k]) for g in members},
        "num_runs": {names[g]: design.num_runs[g] for g in members},
        "means": {names[g]: float(design.means[g]) for g in members},
        "covers": _covers(design, [names[g] for g in trained if design.num_runs[g] == 1]),
        "num_questions": int(design.sizes.sum()),
        "num_paragraphs": len(design.sizes),
        "fewest_runs": min(design.num_runs[g] for g in trained),
    }


def _covers(design: Design, alone: Sequence[str]) -> str:
    if not design.run_degrees:
        return "questions"
    borrowed = f" (one run of {', '.join(alone)}: spread over seeds taken from the other groups)" if alone else ""
    return f"questions and seeds{borrowed}"


def _too_few(design: Design) -> dict[str, Any]:
    num = int(design.sizes.sum())
    reason = f"{num} question{'s' * (num > 1)} about one paragraph: an interval needs at least two paragraphs"
    return {"outcome": "too few", "reason": reason}


def _infer(design: Design, draws: Floats, deviations: Floats, confidence: float) -> list[dict[str, Any]]:
    num, largest = len(draws), np.sort(np.abs(deviations).max(1))
    # The order statistic at or above the wanted share of num + 1, to agree with the p-values.
    critical = float(largest[min(num, math.ceil(confidence * (num + 1))) - 1])
    tails = np.array([1 - confidence, 1 + confidence]) / 2
    p_values = [_p_value(design, k, deviations[:, k]) for k in range(draws.shape[1])]
    found = []
    for k, (p_value, adjusted) in enumerate(zip(p_values, holm(p_values), strict=True)):
        centre, error = float(design.estimates[k]), float(design.standard_errors[k])
        reach = student(critical, design.degrees_of_freedom(k))
        flat = error < ZERO
        outcome: ComparisonOutcome = "compared"
        if flat:
            outcome = "no difference" if abs(centre) < ZERO else "same difference"
        found.append(
            {
                "outcome": outcome,
                "reason": f"{outcome} in every paragraph" if flat else None,
                "question_variance": float(design.question_variance[k]),
                "seed_variance": float(design.seed_variance[k]),
                "standard_error": error,
                "percentile": _between(centre, draws[:, k], tails, flat),
                "bca": _between(centre, draws[:, k], _bca_tails(design, k, draws[:, k], tails), flat),
                "simultaneous": Interval(low=centre - reach * error, high=centre + reach * error),
                "critical": reach,
                "p_value": p_value,
                "adjusted_p_value": adjusted,
            }
        )
    return found


def _p_value(design: Design, k: int, deviations: Floats) -> float:
    estimate, error = abs(float(design.estimates[k])), float(design.standard_errors[k])
    least = 1 / (len(deviations) + 1)
    if error < ZERO:
        # One sign in all G paragraphs: 2 of the 2^G ways to flip signs are as extreme.
        return 1.0 if estimate < ZERO else max(least, 2.0 ** (1 - len(design.sizes)))
    observed, df = estimate / error, design.degrees_of_freedom(k)
    if math.isfinite(df):
        observed = -float(ndtri(stdtr(df, -observed)))
    return float(1 + (np.abs(deviations) >= observed).sum()) * least


def student(normal: float, df: float) -> float:
    """Return the value of Student's t whose tail is that of ``normal``."""
    return normal if math.isinf(df) else -float(stdtrit(df, ndtr(-normal)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Apply Holm's step-down adjustment: the i-th smallest of m (from 0) times m - i, never falling, at most 1."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    steps = accumulate((min(1.0, (len(order) - i) * p_values[k]) for i, k in enumerate(order)), max)
    adjusted = dict(zip(order, steps, strict=True))
    return [adjusted[k] for k in range(len(order))]


def _between(centre: float, draws: Floats, tails: Floats, flat: bool) -> Interval:
    low, high = (centre, centre) if flat else np.quantile(draws, tails)
    return Interval(low=float(low), high=float(high))


def _bca_tails(design: Design, k: int, draws: Floats, tails: Floats) -> Floats:
    """Return Efron's corrected tails; the acceleration is the jackknife's over paragraphs, 0 where only seeds vary."""
    diffs, sizes, num = design.differences[:, k], design.sizes, len(draws)
    # Resamples equal to the estimate count half. All on one side would be an infinite bias.
    below = ((draws < design.estimates[k]).mean() + (draws <= design.estimates[k]).mean()) / 2
    bias = ndtri(np.clip(below, 1 / (num + 1), num / (num + 1)))
    acceleration = 0.0
    if design.question_variance[k] > ZERO**2:
        left_out = (diffs.sum() - diffs) / (sizes.sum() - sizes)
        pull = left_out.mean() - left_out
        acceleration = float((pull**3).sum() / (6 * (pull**2).sum() ** 1.5))
    shifted = bias + ndtri(tails)
    # An acceleration is at most 1/6 in size, so this is positive for any usual number of resamples.
    corrected: Floats = ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, 1e-3))
    return corrected
