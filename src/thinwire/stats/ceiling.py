"""How much of the way from the bare codec to text + LoRA an arm goes, and how surely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from scipy.special import ndtri  # type: ignore[import-untyped]

from thinwire.stats.contrasts import Interval, student
from thinwire.stats.pairing import Run, panel, paragraph_weights

_ROUNDING = 1e-9
"""A ceiling that is above codec only by less is not above it."""
_CONFIDENCE = 0.95
_NUM_RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class CeilingShare:
    """(arm - codec only) / (text + LoRA - codec only): 0 is no better than the bare codec, 1 is the ceiling."""

    share: float | None
    interval: Interval | None
    """Of this arm alone: over questions, and over its runs where there are several. The controls have one run each,
    whose luck is not covered."""
    reason: str | None
    """Why a number is missing; None where none is."""


def ceiling_share(arm: float, codec_only: float | None, ceiling: float | None) -> CeilingShare:
    """The share from mean scores alone, without an interval."""
    if codec_only is None or ceiling is None:
        return CeilingShare(share=None, interval=None, reason="no codec-only control or no text + LoRA control")
    if ceiling - codec_only <= _ROUNDING:
        return CeilingShare(share=None, interval=None, reason="text + LoRA is not above codec only")
    share = (arm - codec_only) / (ceiling - codec_only)
    return CeilingShare(share=share, interval=None, reason="no paired scores to resample")


def paired_ceiling_share(
    arm: Sequence[Run],
    codec_only: Run | None,
    ceiling: Run | None,
) -> CeilingShare:
    """The share of the mean over an arm's runs, with its interval, from scores of the same questions.

    Of one run, the interval is the percentiles over resampled paragraphs. Of several, their standard error and that of
    the runs' mean add up, with Student's t for the few runs (Satterthwaite's degrees of freedom). There is no interval
    where more than 2.5 % of the resamples put the ceiling no higher than codec only: the ratio has
    no bounds then (Fieller 1954).
    """
    if codec_only is None or ceiling is None:
        return ceiling_share(0.0, None, None)
    data = panel([codec_only, ceiling, *arm])
    codec_mean, ceiling_mean, *means = (data.sums.sum(0) / data.sizes.sum()).tolist()
    point = ceiling_share(fmean(means), codec_mean, ceiling_mean)
    if point.share is None:
        return point
    if len(data.sizes) < 2:
        return CeilingShare(share=point.share, interval=None, reason="one paragraph only")
    draws = np.random.default_rng(0)
    sums = np.concatenate([w @ data.sums for w in paragraph_weights(len(data.sizes), _NUM_RESAMPLES, draws)])
    gained, room = sums[:, 2:].mean(1) - sums[:, 0], sums[:, 1] - sums[:, 0]
    above, tail = room > _ROUNDING, (1 - _CONFIDENCE) / 2
    if (~above).mean() > tail:
        return CeilingShare(share=point.share, interval=None, reason="text + LoRA is not surely above codec only")
    shares = gained[above] / room[above]
    low, high = np.quantile(shares, [tail, 1 - tail])
    if len(arm) > 1:
        of_runs = float(np.std(means, ddof=1)) / len(arm) ** 0.5 / (ceiling_mean - codec_mean)
        error = math.hypot(of_runs, float(shares.std()))
        df = (len(arm) - 1) * (error / of_runs) ** 4 if of_runs > _ROUNDING else math.inf
        reach = student(-float(ndtri(tail)), df) * error
        low, high = point.share - reach, point.share + reach
    return CeilingShare(share=point.share, interval=Interval(low=float(low), high=float(high)), reason=None)
