"""From a comparison to a decision: which tier the data support, and what to do next.

The *observed* tier is that of the point estimate. The *supported* tier is the highest whose threshold the lower end of
the simultaneous interval reaches, or "no help" where the upper end stays below the first threshold; where neither
holds, the question is unresolved, and the verdict says how many questions would resolve it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from thinwire.errors import UsageError
from thinwire.stats.bootstrap import ArmComparison, Comparison
from thinwire.stats.inference import Interval
from thinwire.stats.power import questions_needed
from thinwire.stats.tiers import Tier, Tiers


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a sweep puts to the test, and the words of its verdict. ``{arm}`` is the arm that it is judged by."""

    holds: str
    fails: str
    lessons: Mapping[Tier, str]
    unresolved: str
    unresolved_gain: str
    """Where only the size of a gain is in doubt."""


LORA_HELPS = Claim(
    holds="LoRA helps",
    fails="LoRA does not help",
    lessons={
        "no help": "LoRA does not raise the score with compressed input",
        "marginal": "LoRA raises the score with compressed input a little",
        "significant": "LoRA clearly raises the score with compressed input",
        "strong": "LoRA strongly raises the score with compressed input",
    },
    unresolved="Whether LoRA raises the score with compressed input is not resolved",
    unresolved_gain="LoRA raises the score with compressed input, but by how much is not resolved",
)
"""Where LoRA is all that tells the arm from the baseline."""

ARM_IS_BETTER = Claim(
    holds="Better than the baseline",
    fails="No better than the baseline",
    lessons={
        "no help": "{arm} is no better than the baseline",
        "marginal": "{arm} is a little better than the baseline",
        "significant": "{arm} is clearly better than the baseline",
        "strong": "{arm} is much better than the baseline",
    },
    unresolved="Whether {arm} is better than the baseline is not resolved",
    unresolved_gain="{arm} is better than the baseline, but by how much is not resolved",
)
"""Of arms that differ in anything else."""


@dataclass(frozen=True, kw_only=True)
class ArmVerdict:
    """What one arm's comparison says about the tiers."""

    observed: Tier
    """Of the point estimate."""
    supported: Tier | None
    """None where the data decide neither for help nor against it."""
    gains: bool
    """Whether the whole interval is above zero, however little."""
    questions_to_resolve: int | None
    """Questions after which the arm would be supported as helping (or as no help, if that is what is observed), were
    the observed difference the true one; None where it is resolved or no number would do."""

    @property
    def helps(self) -> bool:
        """Whether the data support at least the lowest tier that helps."""
        return self.supported not in (None, "no help")


def arm_verdict(arm: ArmComparison, tiers: Tiers | None = None, *, power: float = 0.8) -> ArmVerdict:
    """Judge one arm. ``power`` is the probability with which the stated number of questions suffices."""
    tiers = tiers or Tiers()
    observed, supported = tiers.of(arm.difference), _supported(arm.simultaneous, tiers)
    resolving = None
    if supported is None:
        side: Literal["lower", "upper"] = "upper" if observed == "no help" else "lower"
        resolving = questions_needed(arm, tiers.marginal / 100, side=side, power=power).number
    return ArmVerdict(
        observed=observed,
        supported=supported,
        gains=arm.simultaneous is not None and arm.simultaneous.low > 0,
        questions_to_resolve=resolving,
    )


def _supported(interval: Interval | None, tiers: Tiers) -> Tier | None:
    if interval is None:
        return None
    if (tier := tiers.of(interval.low)) != "no help":
        return tier
    return "no help" if interval.high * 100 < tiers.marginal else None


@dataclass(frozen=True, kw_only=True)
class SweepVerdict:
    """What a sweep says, by its best arm."""

    verdict: ArmVerdict
    """Of the best arm."""
    helped: bool
    """Whether the data support at least the lowest tier that helps; ``verdict.gains`` is less."""
    headline: str
    lesson: str
    next_steps: tuple[str, ...]
    """The experiment's, for the supported tier; how to resolve the question where it is not resolved."""
    next_steps_if_confirmed: tuple[str, ...]
    """The experiment's for the observed tier, where the question is not resolved; else empty."""


def sweep_verdict(
    comparison: Comparison,
    best: str,
    tiers: Tiers | None = None,
    *,
    claim: Claim = LORA_HELPS,
    next_steps: Mapping[Tier, Sequence[str]] | None = None,
    power: float = 0.8,
) -> SweepVerdict:
    """Judge a sweep by ``best``, the arm (never the baseline) that was chosen on the selection split.

    ``next_steps`` are what the experiment plans for each tier; a tier that is missing has none.

    Raises:
        UsageError: there is no such arm.
    """
    if best not in comparison.arms:
        raise UsageError(f"no arm {best!r} to judge the sweep by; choose one of {', '.join(comparison.arms)}")
    verdict = arm_verdict(comparison.arms[best], tiers, power=power)
    resolved, planned = verdict.supported, next_steps or {}
    in_doubt = claim.unresolved_gain if verdict.gains else claim.unresolved
    lesson = claim.lessons[resolved] if resolved else in_doubt
    return SweepVerdict(
        verdict=verdict,
        helped=verdict.helps,
        headline=_headline(verdict, claim),
        lesson=f"{lesson.format(arm=best)}: {_gain(comparison, best)}.",
        next_steps=tuple(planned.get(resolved, ())) if resolved else (_resolve(verdict, power),),
        next_steps_if_confirmed=() if resolved else tuple(planned.get(verdict.observed, ())),
    )


def _headline(verdict: ArmVerdict, claim: Claim) -> str:
    if verdict.supported is None and verdict.gains:
        return f"Not resolved: a gain, the estimate is {verdict.observed}, but the data do not settle its tier"
    if verdict.supported is None:
        return f"Not resolved: the estimate is {verdict.observed}, the data do not settle it"
    if verdict.supported == "no help":
        return claim.fails
    if verdict.supported == verdict.observed:
        return f"{claim.holds}: {verdict.supported}"
    return f"{claim.holds}: at least {verdict.supported}, the estimate is {verdict.observed}"


def _gain(comparison: Comparison, best: str) -> str:
    arm = comparison.arms[best]
    text = f"{best} gains {arm.difference * 100:+.1f} F1 points over the baseline"
    if arm.simultaneous is None:
        return f"{text} ({arm.reason})"
    ends = f"{arm.simultaneous.low * 100:+.1f} to {arm.simultaneous.high * 100:+.1f}"
    return f"{text} ({comparison.confidence:.0%} interval over all arms {ends}, {arm.num_questions:,} questions)"


def _resolve(verdict: ArmVerdict, power: float) -> str:
    if verdict.questions_to_resolve is None:
        return "Evaluate more questions and more seeds: the results so far do not say how many would resolve it"
    return (
        f"Evaluate about {verdict.questions_to_resolve:,} questions: if the observed difference is the true one, "
        f"that resolves it with a probability of {power:.0%}"
    )
