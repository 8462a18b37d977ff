"""Resample paragraphs for all contrasts at once, and add the luck of the seeds.

A contrast is a weighted sum of group means whose weights sum to 0. Questions about one paragraph are no independent
draws, so whole paragraphs are resampled (Cameron & Miller 2015, "A Practitioner's Guide to Cluster-Robust Inference");
one set of resamples serves all contrasts, which keeps their correlation. The statistic is the ratio
``sum of differences / questions`` over the paragraphs drawn.

Runs (seeds) are not resampled: two or three of them say too little about their own spread. The variance of one run's
mean is pooled over all groups that have several runs. A group whose own runs vary more keeps its own variance: training
without LoRA can vary twice as much as with it, and as the baseline is part of every gain, the pooled variance alone
would make all intervals too narrow. Each resample adds a normal draw of that variance to each group's mean (the same
draw for every contrast that the group is part of), and the degrees of freedom of the pooled variance widen the
intervals (see ``critical``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np

from thinwire.stats.pairing import Floats, Panel, paragraph_weights
from thinwire.stats.small_samples import effective_paragraphs

VariancePart = tuple[float, float]
"""A variance and its degrees of freedom."""
ZERO = 1e-12
"""Differences and standard errors below it are rounding."""
_LEAST_VARIANCE = 0.25
"""A resample's variance counts as at least this share of the sample's. A contrast that differs in a handful of
paragraphs would otherwise make all intervals infinite: some resamples draw none of the handful."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """What is the same in all resamples. ``R`` runs in ``K`` groups; ``G`` paragraphs; ``C`` contrasts."""

    sizes: Floats
    """``[G]``: questions in each paragraph."""
    weights: Floats
    """``[K, C]``: each column sums to 0."""
    num_runs: tuple[int, ...]
    """``[K]``."""
    means: Floats
    """``[K]``: each group's mean score."""
    differences: Floats
    """``[G, C]``: paragraph sums of each contrast, every group being the mean of its runs."""
    run_variances: Floats
    """``[K]``: of one run's mean score, over seeds: the pooled variance of all groups with several runs, or the group's
    own where that is larger; 0 where no group has several runs."""
    run_degrees: int
    """Degrees of freedom of the pooled variance: runs less groups, of the groups with several runs."""
    untrained: tuple[bool, ...]
    """``[K]``: groups whose scores no seed changes."""

    @classmethod
    def of(cls, data: Panel, num_runs: Sequence[int], weights: Floats, untrained: Sequence[bool]) -> Design:
        """Sum up the runs of ``data``, whose columns are the groups' runs in order."""
        columns = [slice(*ends) for ends in pairwise(accumulate(num_runs, initial=0))]
        total = data.sizes.sum()
        sums = np.stack([data.sums[:, one].mean(1) for one in columns], axis=1)
        run_means = [data.sums[:, one].sum(0) / total for one in columns]
        degrees = [num - 1 for num in num_runs]
        squares = [float(((means - means.mean()) ** 2).sum()) for means in run_means]
        pooled = sum(squares) / max(1, sum(degrees))
        return cls(
            sizes=data.sizes,
            weights=weights,
            num_runs=tuple(num_runs),
            means=sums.sum(0) / total,
            differences=sums @ weights,
            run_variances=np.array([max(pooled, own / max(1, df)) for own, df in zip(squares, degrees, strict=True)]),
            run_degrees=sum(degrees),
            untrained=tuple(untrained),
        )

    @cached_property
    def estimates(self) -> Floats:
        """``[C]``: each contrast over all questions."""
        found: Floats = self.differences.sum(0) / self.sizes.sum()
        return found

    @cached_property
    def group_variances(self) -> Floats:
        """``[K]``: of each group's mean over its runs, from the seeds alone."""
        shares = [0.0 if fixed else 1 / num for num, fixed in zip(self.num_runs, self.untrained, strict=True)]
        found: Floats = self.run_variances * np.array(shares)
        return found

    @cached_property
    def seed_variance(self) -> Floats:
        """``[C]``: the part of each squared standard error that comes from which runs were trained."""
        found: Floats = self.group_variances @ self.weights**2
        return found

    @cached_property
    def residuals(self) -> Floats:
        """``[G, C]``: what each paragraph adds to the deviation of each contrast, in questions."""
        found: Floats = self.differences - self.sizes[:, None] * self.estimates
        return found

    @cached_property
    def linear_variance(self) -> Floats:
        """``[C]``: the ratio estimator's linearised variance, over paragraphs; too small where they are unequal."""
        found: Floats = (self.residuals**2).sum(0) / self.sizes.sum() ** 2 * _unbias(len(self.sizes))
        return found

    @cached_property
    def question_variance(self) -> Floats:
        """``[C]``: the jackknife's variance (CR3 of Bell & McCaffrey 2002); of equal paragraphs, the linearised one."""
        pulls = self.residuals / (self.sizes.sum() - self.sizes)[:, None]
        found: Floats = (pulls**2).sum(0) / _unbias(len(self.sizes))
        return found

    @cached_property
    def standard_errors(self) -> Floats:
        """``[C]``."""
        found: Floats = np.sqrt(self.question_variance + self.seed_variance)
        return found

    @property
    def covariance(self) -> Floats:
        """``[C, C]``: of the estimates, over paragraphs and seeds."""
        return self.question_covariance + self.seed_covariance

    @property
    def question_covariance(self) -> Floats:
        """``[C, C]``: of the estimates, over paragraphs; its diagonal is ``question_variance``."""
        pulls = self.residuals / (self.sizes.sum() - self.sizes)[:, None]
        found: Floats = pulls.T @ pulls / _unbias(len(self.sizes))
        return found

    @property
    def seed_covariance(self) -> Floats:
        """``[C, C]``: of the estimates, over seeds; its diagonal is ``seed_variance``."""
        found: Floats = (self.weights.T * self.group_variances) @ self.weights
        return found

    def variance_parts(self, contrast: int) -> tuple[VariancePart, VariancePart]:
        """Return the variances of a contrast over paragraphs and over seeds, each with its degrees of freedom."""
        over_paragraphs = float(self.question_variance[contrast]), effective_paragraphs(self.sizes) - 1
        return over_paragraphs, (float(self.seed_variance[contrast]), float(self.run_degrees))

    def only(self, contrasts: Sequence[int]) -> Design:
        """Return the design of some of the contrasts."""
        return replace(self, weights=self.weights[:, contrasts], differences=self.differences[:, contrasts])


def resample(design: Design, num_resamples: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return estimates and studentised deviations of ``B`` resamples, each ``[B, C]``.

    Every contrast must vary over paragraphs or seeds.
    """
    diffs, sizes = design.differences, design.sizes[:, None]
    # One product with the weights gives all sums: the differences, then those that a resample's variance is made of.
    products = np.hstack([diffs, diffs**2, diffs * sizes, sizes, sizes**2])
    cuts = np.cumsum([*[diffs.shape[1]] * 3, 1])
    sums = np.concatenate([weights @ products for weights in paragraph_weights(len(sizes), num_resamples, rng)])
    first, squares, cross, total, total2 = np.split(sums, cuts, axis=1)
    estimates = first / total
    variance = (squares - 2 * estimates * cross + estimates**2 * total2) / total**2 * _unbias(len(sizes))
    variance = np.maximum(variance, _LEAST_VARIANCE * design.linear_variance)
    # As much larger as the sample's variance is made, so that it relates to that over seeds as it does there.
    larger = design.question_variance / np.maximum(design.linear_variance, ZERO**2)
    luck = np.zeros((1, diffs.shape[1]))
    if design.run_degrees:
        normal = rng.standard_normal((num_resamples, len(design.num_runs)))
        luck = (normal * np.sqrt(design.group_variances)) @ design.weights
    deviations = (estimates - design.estimates) * np.sqrt(larger) + luck
    return estimates + luck, deviations / np.sqrt(variance * larger + design.seed_variance)


def _unbias(num_paragraphs: int) -> float:
    return num_paragraphs / max(1, num_paragraphs - 1)
