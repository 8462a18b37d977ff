"""Bound a mean where resampling knows too little: few paragraphs, or few that differ.

Where an arm answers almost all paragraphs as the baseline does, a resample has hardly anything to vary, and an interval
from it is too narrow or has no width at all. What is known then is how often a paragraph differs from the common
value, at most: with ``k`` of ``G`` paragraphs differing, the exact binomial bound of Clopper & Pearson 1934; for k = 0
it is ``1 - alpha^(1/G)``, the "rule of three". As scores lie in [0, 1], a paragraph cannot differ by more than all its
questions, which bounds the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv  # type: ignore[import-untyped]

from thinwire.stats.pairing import Floats
from thinwire.stats.words import QUESTIONS, Words

LEAST_PARAGRAPHS = 6
"""Fewer give no interval."""
LEAST_EFFECTIVE = 4.0
"""Paragraphs so unequal that they count as fewer equal ones give no interval."""
LEAST_DIFFERING = 6
"""Fewer paragraphs that differ from the common value give a bound instead of a resampled interval."""
_ROUNDING = 1e-9


def effective_paragraphs(sizes: Floats) -> float:
    """Return the number of equal paragraphs that would vary as these do: ``(sum n)^2 / sum n^2``.

    The sizes' part of the effective number of clusters of Carter, Schnepel & Steigerwald 2017.
    """
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def refusal(sizes: Floats, words: Words = QUESTIONS) -> str | None:
    """Say why paragraphs of these sizes give no interval; None where they do."""
    num, effective = len(sizes), effective_paragraphs(sizes)
    asked = words.counted(int(sizes.sum()), num)
    if num < LEAST_PARAGRAPHS:
        return f"{asked}: an interval needs at least {LEAST_PARAGRAPHS} {words.cluster}s"
    if effective < LEAST_EFFECTIVE:
        return f"{asked}, so unequal that they count as {effective:.1f}: an interval needs {LEAST_EFFECTIVE:g}"
    return None


@dataclass(frozen=True, kw_only=True)
class Ties:
    """How many paragraphs differ from the common value of a contrast."""

    common: float
    """Difference per question that more than half of the paragraphs show; 0 where there is none."""
    above: int
    below: int
    num_paragraphs: int
    largest: float
    """Questions of the largest paragraph, in units of the mean paragraph."""
    reach: float
    """The largest possible value of the contrast: half the sum of its weights' sizes."""

    @property
    def differing(self) -> int:
        """Paragraphs that differ from the common value."""
        return self.above + self.below

    def bound(self, alpha: float) -> tuple[float, float]:
        """Return ends that the mean lies between with a confidence of at least ``1 - alpha``.

        Both ends together take ``alpha``: half each, except that with no paragraph differing one bound on the share
        of differing paragraphs serves both.
        """
        each = alpha / 2 if self.differing else alpha
        low = self.common - (self.reach + self.common) * self._share(self.below, each)
        high = self.common + (self.reach - self.common) * self._share(self.above, each)
        return low, high

    def _share(self, num: int, alpha: float) -> float:
        """Return the largest share of questions in differing paragraphs, all of which may be the largest."""
        if num >= self.num_paragraphs:
            return 1.0
        return min(1.0, self.largest * float(betaincinv(num + 1, self.num_paragraphs - num, 1 - alpha)))


def count_ties(differences: Floats, sizes: Floats, reach: float) -> Ties:
    """Count the paragraphs that differ from the common value, given ``[G]`` sums of differences and questions."""
    rates = differences / sizes
    common = float(np.median(rates))
    if (np.abs(rates - common) < _ROUNDING).mean() <= 0.5 or abs(common) < _ROUNDING:
        common = 0.0
    return Ties(
        common=common,
        above=int((rates > common + _ROUNDING).sum()),
        below=int((rates < common - _ROUNDING).sum()),
        num_paragraphs=len(sizes),
        largest=float(sizes.max() / sizes.mean()),
        reach=reach,
    )
