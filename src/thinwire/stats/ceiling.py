"""How much of the way from the bare codec to text + LoRA an arm goes, and how surely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri  # type: ignore[import-untyped]

from thinwire.stats.critical import student
from thinwire.stats.inference import Interval
from thinwire.stats.pairing import Run, panel
from thinwire.stats.resampling import Design
from thinwire.stats.small_samples import LEAST_DIFFERING, count_ties, effective_paragraphs, refusal

_ROUNDING = 1e-9
"""A ceiling that is above codec only by less is not above it."""
_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class CeilingShare:
    """(arm - codec only) / (text + LoRA - codec only): 0 is no better than the bare codec, 1 is the ceiling."""

    share: float | None
    interval: Interval | None
    """Of this arm alone: over questions, and over the seeds of arm and ceiling."""
    reason: str | None
    """Why a number is missing; None where none is."""


def ceiling_share(arm: float, codec_only: float | None, ceiling: float | None) -> CeilingShare:
    """Return the share from mean scores alone, without an interval."""
    if codec_only is None or ceiling is None:
        return CeilingShare(share=None, interval=None, reason="no codec-only control or no text + LoRA control")
    if ceiling - codec_only <= _ROUNDING:
        return CeilingShare(share=None, interval=None, reason="text + LoRA is not above codec only")
    share = (arm - codec_only) / (ceiling - codec_only)
    return CeilingShare(share=share, interval=None, reason="no paired scores to compare")


def paired_ceiling_shares(
    arms: Sequence[Sequence[Run]], codec_only: Sequence[Run] | None, ceiling: Sequence[Run] | None
) -> list[CeilingShare]:
    """Return the share of the mean over each arm's runs, with its interval, from scores of the same questions.

    The interval is Fieller's (1954): the shares s at which ``gain - s * room`` does not differ from 0, where gain is
    arm minus codec only and room is text + LoRA minus codec only. Its variance is that over paragraphs plus that over
    seeds, as everywhere (see ``resampling``); each part has its own Student's t (see ``critical``).
    Codec only trains nothing, so a single run of it has no spread over seeds.

    Args:
        arms: one or more runs of each; those with several help to estimate the spread over seeds of all.
        codec_only: runs of the control at 0; one suffices.
        ceiling: runs of the control at 1.

    Returns:
        For each arm the share, without an interval where no group has several runs (what training adds to the
        uncertainty is not known then), where paragraphs are too few, and where the ceiling is not surely above codec
        only, as the ratio has no bounds then.

    Raises:
        UsageError: runs that cannot be paired (see ``panel``).
    """
    if not codec_only or not ceiling:
        return [ceiling_share(0.0, None, None)] * len(arms)
    groups, num = [*arms, codec_only, ceiling], len(arms)
    # A gain for each arm, then the room.
    weights = np.vstack([np.eye(num, num + 1), np.full(num + 1, -1.0), np.eye(1, num + 1, num)])
    data = panel([run for group in groups for run in group])
    fixed = [group is codec_only and len(codec_only) == 1 for group in groups]
    design = Design.of(data, [len(group) for group in groups], weights, fixed)
    *means, codec_mean, ceiling_mean = design.means.tolist()
    return [_share(design.only([k, num]), mean, codec_mean, ceiling_mean) for k, mean in enumerate(means)]


def _share(design: Design, arm: float, codec_only: float, ceiling: float) -> CeilingShare:
    """Return the share of an arm from mean scores, with the interval of the ratio of the design's two contrasts."""
    point = ceiling_share(arm, codec_only, ceiling)
    if point.share is None:
        return point
    interval, reason = _interval(design)
    return CeilingShare(share=point.share, interval=interval, reason=reason)


def _interval(design: Design) -> tuple[Interval | None, str | None]:
    """Return Fieller's interval of the ratio of a design's two contrasts, or why there is none."""
    if reason := refusal(design.sizes):
        return None, reason
    if min(count_ties(sums, design.sizes, 1.0).differing for sums in design.differences.T) < LEAST_DIFFERING:
        return None, f"fewer than {LEAST_DIFFERING} paragraphs differ from codec only"
    if not design.run_degrees:
        return None, "one seed: how much the share varies with training is not known"
    normal = -float(ndtri((1 - _CONFIDENCE) / 2))
    of_questions = student(normal, effective_paragraphs(design.sizes) - 1) ** 2 * design.question_covariance
    of_seeds = student(normal, design.run_degrees) ** 2 * design.seed_covariance
    (vgg, vgr), (_, vrr) = (of_questions + of_seeds).tolist()
    gain, room = design.estimates.tolist()
    # (gain - s room)^2 <= vgg - 2 s vgr + s^2 vrr: a s^2 - 2 b s + c <= 0.
    a, b, c = room**2 - vrr, gain * room - vgr, gain**2 - vgg
    if a <= 0:
        return None, "text + LoRA is not surely above codec only"
    root = math.sqrt(max(0.0, b**2 - a * c))
    return Interval(low=(b - root) / a, high=(b + root) / a), None
