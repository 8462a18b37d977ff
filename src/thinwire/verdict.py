"""From a comparison to a decision: the tiers of the plan, what the data support of them, and what to do next.

The *observed* tier is that of the point estimate. The *supported* tier is the highest whose threshold the lower end of
the simultaneous interval reaches, or "no help" where the upper end stays below the first threshold; where neither
holds, the question is unresolved, and the verdict says how many questions would resolve it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from thinwire.errors import UsageError
from thinwire.statistics import ArmComparison, Comparison, Interval, questions_needed

Tier = Literal["no help", "marginal", "significant", "strong"]
TIERS: tuple[Tier, ...] = get_args(Tier)
"""From the lowest to the highest."""

_ROUNDING = 1e-9
"""F1 points by which a difference may miss a threshold: 0.29 - 0.24 is a little less than 0.05 in binary."""

_FIVE_OR_MORE = (
    "Add LoRA configuration to Phase 0 post-processing pipeline",
    "Use best LoRA config as baseline for future experiments",
    "Update REPORT.md with this finding",
)
NEXT_STEPS: Mapping[Tier, tuple[str, ...]] = {
    "no help": (
        "Confirms Phase 1a limitation is not about LLM adaptation",
        "Focus on post-processing (Phase 0) and VQ-VAE (Phase 1)",
        "LoRA is necessary but not sufficient (as REPORT.md suggests)",
    ),
    "marginal": (
        "Document as minor optimization",
        "Consider for production deployment (small parameter cost)",
        "Continue with VQ-VAE (Phase 1) as planned",
    ),
    "significant": _FIVE_OR_MORE,
    "strong": _FIVE_OR_MORE,
}
"""The plan's branches, in its words."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a sweep puts to the test, and the words of its verdict. ``{arm}`` is the arm that it is judged by."""

    holds: str
    fails: str
    lessons: Mapping[Tier, str]
    unresolved: str
    unresolved_gain: str
    """Where only the size of a gain is in doubt."""
    next_steps: Mapping[Tier, tuple[str, ...]]


LORA_HELPS = Claim(
    holds="LoRA helps",
    fails="LoRA does not help",
    lessons={
        "no help": "LoRA does not help the model read the reconstructed embeddings",
        "marginal": "LoRA helps the model read the reconstructed embeddings a little",
        "significant": "LoRA clearly helps the model read the reconstructed embeddings",
        "strong": "LoRA strongly helps the model read the reconstructed embeddings",
    },
    unresolved="Whether LoRA helps the model read the reconstructed embeddings is not resolved",
    unresolved_gain="LoRA helps the model read the reconstructed embeddings, but by how much is not resolved",
    next_steps=NEXT_STEPS,
)
"""The plan's claim, where LoRA is all that tells the arm from the baseline."""

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
    next_steps=dict.fromkeys(TIERS, ()),
)
"""Of arms that differ in anything else: what to do next is for whoever asked."""


@dataclass(frozen=True, kw_only=True)
class Tiers:
    """The least gain over the baseline of each tier, in F1 points; less than ``marginal`` is no help.

    Raises:
        UsageError: thresholds are not positive and rising.
    """

    marginal: float = 2.0
    significant: float = 5.0
    strong: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.marginal < self.significant < self.strong < float("inf"):
            raise UsageError(
                f"tier thresholds must be positive and rise, not {self.marginal}, {self.significant}, {self.strong}"
            )

    def thresholds(self) -> dict[Tier, float]:
        """F1 points, from the lowest tier that helps to the highest."""
        return {"marginal": self.marginal, "significant": self.significant, "strong": self.strong}

    def of(self, difference: float) -> Tier:
        """The tier of a difference, which is a fraction."""
        reached = [tier for tier, least in self.thresholds().items() if difference * 100 >= least - _ROUNDING]
        return reached[-1] if reached else "no help"


@dataclass(frozen=True, kw_only=True)
class ArmVerdict:
    """What one arm's comparison says about the tiers."""

    observed: Tier
    """Of the point estimate."""
    supported: Tier | None
    """None where the data decide neither for help nor against it."""
    unresolved: bool
    gains: bool
    """Whether the whole interval is above zero, however little."""
    questions_to_resolve: int | None
    """Questions after which the arm would be supported as helping (or as no help, if that is what is observed), were
    the observed difference the true one; None where it is resolved or no number would do."""
    questions_needed: dict[Tier, int | None]
    """For each tier, the questions that would support it; None where the observed difference does not."""

    @property
    def helps(self) -> bool:
        """Whether the data support at least the lowest tier that helps."""
        return self.supported not in (None, "no help")

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "helps": self.helps}


def arm_verdict(arm: ArmComparison, tiers: Tiers | None = None, *, power: float = 0.8) -> ArmVerdict:
    """Judge one arm. ``power`` is the probability with which the stated numbers of questions suffice."""
    tiers = tiers or Tiers()
    observed = tiers.of(arm.difference)
    supported = _supported(arm.simultaneous, tiers)
    lowest = tiers.marginal / 100
    needed: dict[Tier, int | None] = {"no help": questions_needed(arm, lowest, side="upper", power=power)}
    for tier, least in tiers.thresholds().items():
        needed[tier] = questions_needed(arm, least / 100, power=power)
    resolving = needed["no help" if observed == "no help" else "marginal"]
    return ArmVerdict(
        observed=observed,
        supported=supported,
        unresolved=supported is None,
        gains=arm.simultaneous is not None and arm.simultaneous.low > 0,
        questions_to_resolve=resolving if supported is None else None,
        questions_needed=needed,
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

    best: str
    verdict: ArmVerdict
    """Of the best arm."""
    arms: dict[str, ArmVerdict]
    helped: bool
    """Whether the data support at least the lowest tier that helps; ``verdict.gains`` is less."""
    headline: str
    lesson: str
    next_steps: tuple[str, ...]
    """The claim's, for the supported tier; how to resolve the question where it is not resolved."""
    next_steps_if_confirmed: tuple[str, ...]
    """The claim's for the observed tier, where the question is not resolved; else empty."""

    def as_dict(self) -> dict[str, Any]:
        arms = {name: arm.as_dict() for name, arm in self.arms.items()}
        return {**asdict(self), "verdict": self.verdict.as_dict(), "arms": arms}


def sweep_verdict(
    comparison: Comparison,
    best: str,
    tiers: Tiers | None = None,
    *,
    claim: Claim = LORA_HELPS,
    power: float = 0.8,
) -> SweepVerdict:
    """Judge a sweep by ``best``, the arm (never the baseline) that was chosen on the selection split.

    Raises:
        UsageError: there is no such arm.
    """
    if best not in comparison.arms:
        raise UsageError(f"no arm {best!r} to judge the sweep by; choose one of {', '.join(comparison.arms)}")
    arms = {name: arm_verdict(arm, tiers, power=power) for name, arm in comparison.arms.items()}
    verdict = arms[best]
    resolved = verdict.supported
    in_doubt = claim.unresolved_gain if verdict.gains else claim.unresolved
    lesson = claim.lessons[resolved] if resolved else in_doubt
    return SweepVerdict(
        best=best,
        verdict=verdict,
        arms=arms,
        helped=verdict.helps,
        headline=_headline(verdict, claim),
        lesson=f"{lesson.format(arm=best)}: {_gain(comparison, best)}.",
        next_steps=claim.next_steps[resolved] if resolved else (_resolve(verdict, power),),
        next_steps_if_confirmed=() if resolved else claim.next_steps[verdict.observed],
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
        return "Evaluate more questions and more seeds: the figures so far do not say how many would resolve it"
    return (
        f"Evaluate about {verdict.questions_to_resolve:,} questions: if the observed difference is the true one, "
        f"that resolves it with a probability of {power:.0%}"
    )


@dataclass(frozen=True, kw_only=True)
class BaselineCheck:
    """Whether the baseline is what the plan expects. F1 as fractions."""

    baseline_f1: float
    expected_f1: float | None
    """The plan's figure; None where the model is another one, and the text control stands in its place."""
    tolerance: float
    matches: bool | None
    """Whether the baseline is within the tolerance of ``expected_f1``; None where that does not apply."""
    text_f1: float | None
    difference_to_text: float | None
    share_of_text: float | None
    """None where the text control is missing or scores 0."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def baseline_check(
    model: str, baseline_f1: float, text_f1: float | None = None, *, expected: float = 0.24, tolerance: float = 0.02
) -> BaselineCheck:
    """Check the baseline against the plan's figure if ``model`` names a Llama-3.1-8B, and against the text control.

    The tolerance of two F1 points is the plan's own idea of a difference too small to count.
    """
    applies = re.search(r"llama-3\.1-8b", model, re.IGNORECASE) is not None
    return BaselineCheck(
        baseline_f1=baseline_f1,
        expected_f1=expected if applies else None,
        tolerance=tolerance,
        matches=abs(baseline_f1 - expected) <= tolerance + _ROUNDING / 100 if applies else None,
        text_f1=text_f1,
        difference_to_text=None if text_f1 is None else baseline_f1 - text_f1,
        share_of_text=baseline_f1 / text_f1 if text_f1 else None,
    )
