"""How much better than a baseline many arms are, on the same questions, with the uncertainty stated.

Questions about one paragraph are no independent draws, so whole paragraphs are resampled (Cameron & Miller 2015, "A
Practitioner's Guide to Cluster-Robust Inference"); one set of resamples serves all arms, which keeps their
correlation. The statistic is the ratio ``sum of differences / questions`` over the paragraphs drawn. Several runs
(seeds) of an arm are drawn too, crossed with the paragraphs (Owen 2007, "The Pigeonhole Bootstrap"), one fewer than
there are so that their variance is unbiased (Rao & Wu 1988).

Simultaneous intervals are ``difference +- c * standard error``, ``c`` the quantile of the largest studentised
deviation over all arms (Westfall & Young 1993; Romano & Wolf 2005). P-values come from the same deviations, plus one
in numerator and denominator (Davison & Hinkley 1997, 4.2), adjusted as Holm 1979 does. The variance over a few
runs is itself badly known; c and p allow for that by Student's t with Satterthwaite's degrees of freedom.

Everything is in fractions (0.02 is two F1 points). Nothing here returns NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # type: ignore[import-untyped]

from thinwire.errors import UsageError
from thinwire.stats.pairing import Floats, Panel, Run, panel, paragraph_weights

ComparisonOutcome = Literal["compared", "no difference", "same difference", "too few"]

_ZERO = 1e-12
"""Differences and standard errors below it are rounding."""
_LEAST_VARIANCE = 0.25
"""A resample's variance counts as at least this share of the sample's. An arm that differs in a handful of paragraphs
would otherwise make the intervals of all arms infinite: some resamples draw none of the handful."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Both ends, as fractions."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ArmComparison:
    """One arm against the baseline, in fractions. Where the outcome is "too few", what cannot be said is None."""

    outcome: ComparisonOutcome
    reason: str | None
    """Why the outcome is not "compared"; None where it is."""
    covers: str
    """The uncertainty in the intervals: "questions", "questions and seeds", or "questions and seeds of the arm" ("of
    the baseline") where the other has one run only."""
    num_questions: int
    num_paragraphs: int
    num_runs: int
    num_baseline_runs: int
    mean: float
    baseline_mean: float
    difference: float
    question_variance: float | None = None
    """The part of the squared standard error that comes from which paragraphs were asked."""
    seed_variance: float | None = None
    """The part that comes from which runs were trained; 0 where the intervals do not cover seeds."""
    standard_error: float | None = None
    percentile: Interval | None = None
    bca: Interval | None = None
    """Efron 1987, "Better Bootstrap Confidence Intervals". Like ``percentile``, of this arm alone."""
    simultaneous: Interval | None = None
    critical: float | None = None
    """Standard errors from ``difference`` to either end of ``simultaneous``."""
    p_value: float | None = None
    """Two-sided, of this arm alone."""
    adjusted_p_value: float | None = None
    """Holm's, over all arms."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All arms against the baseline, in the order given."""

    arms: dict[str, ArmComparison]
    confidence: float
    num_resamples: int


def compare_to_baseline(
    baseline: Sequence[Run],
    arms: Mapping[str, Sequence[Run]],
    *,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    rng: np.random.Generator | int = 0,
) -> Comparison:
    """Compare each arm (one or more runs) with the baseline (one or more runs).

    The intervals cover the choice of questions, and that of seeds wherever there are several runs.

    Raises:
        UsageError: no arms or runs, runs that cannot be paired (see ``panel``), fewer than 100 resamples, or a
            confidence outside 0.5 to 1.
    """
    groups = [list(baseline), *map(list, arms.values())]
    if len(groups) < 2 or not all(groups):
        raise UsageError("a comparison needs a baseline run, at least one arm, and at least one run of each arm")
    if num_resamples < 100 or not 0.5 <= confidence < 1:
        raise UsageError(f"{num_resamples} resamples, confidence {confidence}: use at least 100, and 0.5 to below 1")
    data = panel([run for group in groups for run in group])
    design = _Design.of(data, [len(group) for group in groups])
    if len(data.sizes) < 2:
        found = [_too_few(design, k) for k in range(len(arms))]
    else:
        found = _summarize(design, *_resample(design, num_resamples, np.random.default_rng(rng)), confidence)
    named = dict(zip(arms, found, strict=True))
    return Comparison(arms=named, confidence=confidence, num_resamples=num_resamples)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Design:
    """What is the same in all resamples. ``A`` arms; group 0 is the baseline, group k + 1 arm k."""

    data: Panel
    columns: list[slice]
    """Each group's runs among the columns of ``data.sums``."""
    differences: Floats
    """``[G, A]``: paragraph sums of arm minus baseline, each the mean of its runs."""
    means: Floats
    """``[A + 1]``: each group's mean score."""
    question_variance: Floats
    """``[A]``: the linearised variance of the ratio estimator."""
    seed_variances: Floats
    """``[A + 1]``: of each group's mean over its runs; 0 where seeds are not covered."""

    @classmethod
    def of(cls, data: Panel, num_runs: Sequence[int]) -> _Design:
        columns = [slice(*ends) for ends in pairwise(accumulate(num_runs, initial=0))]
        sums, total = np.stack([data.sums[:, c].mean(1) for c in columns], axis=1), data.sizes.sum()
        differences = sums[:, 1:] - sums[:, :1]
        residuals = differences - data.sizes[:, None] * differences.sum(0) / total
        variance = (residuals**2).sum(0) / total**2 * _unbias(len(data.sizes))
        run_means = [data.sums[:, c].sum(0) / total for c in columns]
        seeds = [m.var(ddof=1) / len(m) if len(m) > 1 else 0.0 for m in run_means]
        return cls(
            data=data,
            columns=columns,
            differences=differences,
            means=sums.sum(0) / total,
            question_variance=variance,
            seed_variances=np.array(seeds),
        )

    @property
    def estimates(self) -> Floats:
        found: Floats = self.differences.sum(0) / self.data.sizes.sum()
        return found

    @property
    def standard_errors(self) -> Floats:
        found: Floats = np.sqrt(self.question_variance + self.seed_variances[1:] + self.seed_variances[0])
        return found

    def num_runs(self, group: int) -> int:
        return int(self.columns[group].stop - self.columns[group].start)

    def draws_seeds(self, group: int) -> bool:
        return self.num_runs(group) > 1

    def degrees_of_freedom(self, k: int) -> float:
        """Satterthwaite's, of the variance over runs alone: resamples allow for the rest. Infinite without seeds."""
        weight = sum(self.seed_variances[g] ** 2 / (self.num_runs(g) - 1) for g in (0, k + 1) if self.draws_seeds(g))
        return float(self.standard_errors[k] ** 4 / weight) if weight > 0 else math.inf

    def common(self, k: int) -> dict[str, Any]:
        seeds = {(True, True): " and seeds", (True, False): " and seeds of the baseline", (False, False): ""}
        drawn = seeds.get((self.draws_seeds(0), self.draws_seeds(k + 1)), " and seeds of the arm")
        return {
            "covers": f"questions{drawn}",
            "num_questions": int(self.data.sizes.sum()),
            "num_paragraphs": len(self.data.sizes),
            "num_runs": self.num_runs(k + 1),
            "num_baseline_runs": self.num_runs(0),
            "mean": float(self.means[k + 1]),
            "baseline_mean": float(self.means[0]),
            "difference": float(self.estimates[k]),
        }


def _unbias(num_paragraphs: int) -> float:
    return num_paragraphs / max(1, num_paragraphs - 1)


def _resample(design: _Design, num_resamples: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Differences and studentised deviations, each ``[B, A]``."""
    data, diffs, sizes = design.data, design.differences, design.data.sizes[:, None]
    mixes = [_run_weights(design, group, num_resamples, rng) for group in range(len(design.columns))]
    # One product with the weights gives all sums: of the runs, then those that a resample's variance is made of.
    products = np.hstack([data.sums, diffs, diffs**2, diffs * sizes, sizes, sizes**2])
    cuts = np.cumsum([data.sums.shape[1], *[diffs.shape[1]] * 3, 1])
    sums = np.concatenate([weights @ products for weights in paragraph_weights(len(sizes), num_resamples, rng)])
    runs, first, squares, cross, total, total2 = np.split(sums, cuts, axis=1)
    drawn = [(runs[:, c] * mix).sum(1, keepdims=True) for c, mix in zip(design.columns, mixes, strict=True)]
    estimates = (np.hstack(drawn[1:]) - drawn[0]) / total
    ratio = first / total
    variance = (squares - 2 * ratio * cross + ratio**2 * total2) / total**2 * _unbias(len(sizes))
    variance = np.maximum(variance, _LEAST_VARIANCE * design.question_variance)
    errors = np.sqrt(variance + design.seed_variances[1:] + design.seed_variances[0])
    return estimates, (estimates - design.estimates) / np.where(design.standard_errors < _ZERO, np.inf, errors)


def _run_weights(design: _Design, group: int, num_resamples: int, rng: np.random.Generator) -> Floats:
    """How much each run of a group counts in each resample: ``[B, runs]``, rows sum to 1."""
    num = design.num_runs(group)
    if not design.draws_seeds(group):
        return np.full((num_resamples, num), 1 / num)
    return rng.multinomial(num - 1, [1 / num] * num, size=num_resamples) / (num - 1)


def _summarize(design: _Design, draws: Floats, deviations: Floats, confidence: float) -> list[ArmComparison]:
    num, largest = len(draws), np.sort(np.abs(deviations).max(1))
    # The order statistic at or above the wanted share of num + 1, to agree with the p-values.
    critical = float(largest[min(num, math.ceil(confidence * (num + 1))) - 1])
    tails = np.array([1 - confidence, 1 + confidence]) / 2
    p_values = [_p_value(design, k, deviations[:, k]) for k in range(draws.shape[1])]
    found = []
    for k, (p_value, adjusted) in enumerate(zip(p_values, holm(p_values), strict=True)):
        centre, error = float(design.estimates[k]), float(design.standard_errors[k])
        reach = student(critical, design.degrees_of_freedom(k))
        flat = error < _ZERO
        outcome: ComparisonOutcome = "compared"
        if flat:
            outcome = "no difference" if abs(centre) < _ZERO else "same difference"
        found.append(
            ArmComparison(
                **design.common(k),
                outcome=outcome,
                reason=f"{outcome} in every paragraph" if flat else None,
                question_variance=float(design.question_variance[k]),
                seed_variance=float(design.seed_variances[0] + design.seed_variances[k + 1]),
                standard_error=error,
                percentile=_between(centre, draws[:, k], tails, flat),
                bca=_between(centre, draws[:, k], _bca_tails(design, k, draws[:, k], tails), flat),
                simultaneous=Interval(low=centre - reach * error, high=centre + reach * error),
                critical=reach,
                p_value=p_value,
                adjusted_p_value=adjusted,
            )
        )
    return found


def _too_few(design: _Design, k: int) -> ArmComparison:
    num = int(design.data.sizes.sum())
    reason = f"{num} question{'s' * (num > 1)} about one paragraph: an interval needs at least two paragraphs"
    return ArmComparison(outcome="too few", reason=reason, **design.common(k))


def _p_value(design: _Design, k: int, deviations: Floats) -> float:
    estimate, error = abs(float(design.estimates[k])), float(design.standard_errors[k])
    least = 1 / (len(deviations) + 1)
    if error < _ZERO:
        # One sign in all G paragraphs: 2 of the 2^G ways to flip signs are as extreme.
        return 1.0 if estimate < _ZERO else max(least, 2.0 ** (1 - len(design.data.sizes)))
    observed, df = estimate / error, design.degrees_of_freedom(k)
    if math.isfinite(df):
        observed = -float(ndtri(stdtr(df, -observed)))
    return float(1 + (np.abs(deviations) >= observed).sum()) * least


def student(normal: float, df: float) -> float:
    """The value of Student's t whose tail is that of ``normal``."""
    return normal if math.isinf(df) else -float(stdtrit(df, ndtr(-normal)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: the i-th smallest of m (from 0) times m - i, never falling, at most 1."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    steps = accumulate((min(1.0, (len(order) - i) * p_values[k]) for i, k in enumerate(order)), max)
    adjusted = dict(zip(order, steps, strict=True))
    return [adjusted[k] for k in range(len(order))]


def _between(centre: float, draws: Floats, tails: Floats, flat: bool) -> Interval:
    low, high = (centre, centre) if flat else np.quantile(draws, tails)
    return Interval(low=float(low), high=float(high))


def _bca_tails(design: _Design, k: int, draws: Floats, tails: Floats) -> Floats:
    """Efron's corrected tails; the acceleration is the jackknife's over paragraphs, 0 where only seeds vary."""
    diffs, sizes, num = design.differences[:, k], design.data.sizes, len(draws)
    # Resamples equal to the estimate count half. All on one side would be an infinite bias.
    below = ((draws < design.estimates[k]).mean() + (draws <= design.estimates[k]).mean()) / 2
    bias = ndtri(np.clip(below, 1 / (num + 1), num / (num + 1)))
    acceleration = 0.0
    if design.question_variance[k] > _ZERO**2:
        left_out = (diffs.sum() - diffs) / (sizes.sum() - sizes)
        pull = left_out.mean() - left_out
        acceleration = float((pull**3).sum() / (6 * (pull**2).sum() ** 1.5))
    shifted = bias + ndtri(tails)
    # An acceleration is at most 1/6 in size, so this is positive for any usual number of resamples.
    corrected: Floats = ndtr(bias + shifted / np.maximum(1 - acceleration * shifted, 1e-3))
    return corrected


def questions_needed(
    arm: ArmComparison, threshold: float, *, side: Literal["lower", "upper"] = "lower", power: float = 0.8
) -> int | None:
    """How many questions it takes until an end of the simultaneous interval reaches ``threshold`` (a fraction).

    The lower end reaches it from above, the upper end from below. With n questions the standard error is
    ``sqrt(question_variance * n0 / n + seed_variance)``, n0 being those asked so far; so if the observed difference d
    is the true one and questions cluster as they do now, the end passes with probability ``power`` at

        n = n0 * question_variance / ((|d - threshold| / (critical + z(power)))^2 - seed_variance)

    A power of 0.5 gives the bare ``d - critical * error = threshold``. None where d is not on the side asked for,
    where no number of questions overcomes the variance of the seeds, and where the outcome is not "compared".

    Raises:
        UsageError: a power below 0.5 or not below 1.
    """
    if not 0.5 <= power < 1:
        raise UsageError(f"a power of {power} is not from 0.5 to below 1")
    distance = arm.difference - threshold if side == "lower" else threshold - arm.difference
    if arm.outcome != "compared" or distance <= _ZERO:
        return None
    assert arm.critical is not None
    assert arm.question_variance is not None
    assert arm.seed_variance is not None
    room = (distance / (arm.critical + float(ndtri(power)))) ** 2 - arm.seed_variance
    if room <= _ZERO**2:
        return None
    # Rounded first: 25000.000000000004 is no reason to ask one more.
    return max(1, math.ceil(round(arm.num_questions * arm.question_variance / room, 6)))
