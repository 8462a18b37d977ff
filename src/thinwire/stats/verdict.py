"""From a comparison to a decision: which tier the data support, and what to do next.

The *observed* tier is that of the point estimate. The *supported* tier is what the simultaneous interval shows
(``Tiers.supported``). Where it shows none, or where there is no interval, the question is unresolved, and the verdict
says how many questions would resolve it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from thinwire.errors import UsageError
from thinwire.stats.bootstrap import ArmComparison, Comparison
from thinwire.stats.power import QuestionsNeeded, questions_needed
from thinwire.stats.tiers import ResolvedTier, Tier, Tiers, planned_tier
from thinwire.stats.words import QUESTIONS, Words, count


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a sweep puts to the test, and the words of its verdict.

    ``{arm}`` is the arm that it is judged by, ``{least}`` the smallest gain that counts, in points, ``{reached}`` the
    least gain of the supported tier.
    """

    gains: str
    """Headline before the tier of a gain that counts."""
    headlines: Mapping[ResolvedTier, str]
    """Headlines of what is below the smallest tier."""
    lessons: Mapping[ResolvedTier, str]
    """Of what is below the smallest tier."""
    lesson_of_gain: str
    """Of a gain that counts: what the interval's lower end shows, which says nothing of how large it is at most."""
    unresolved: str
    unresolved_gain: str
    """Where only the size of a gain is in doubt."""


LORA_GAINS = Claim(
    gains="LoRA gains",
    headlines={
        "harm": "LoRA lowers the score",
        "no help": "No gain of {least} points with LoRA",
        "slight": "A gain of less than {least} points with LoRA",
    },
    lessons={
        "harm": "LoRA lowers the score",
        "no help": "LoRA does not raise the score by {least} points",
        "slight": "LoRA raises the score by less than {least} points",
    },
    lesson_of_gain="LoRA raises the score by at least {reached} points",
    unresolved="Whether LoRA raises the score is not resolved",
    unresolved_gain="LoRA raises the score, but by how much is not resolved",
)
"""Where LoRA is all that tells the arm from the baseline. A gain of LoRA may be the task that it learns: that it undoes
anything that compression lost follows from no comparison of two arms, so these words do not say it."""

ARM_IS_BETTER = Claim(
    gains="Better than the baseline",
    headlines={
        "harm": "Worse than the baseline",
        "no help": "No gain of {least} points over the baseline",
        "slight": "A gain of less than {least} points over the baseline",
    },
    lessons={
        "harm": "{arm} is worse than the baseline",
        "no help": "{arm} is not {least} points better than the baseline",
        "slight": "{arm} is better than the baseline by less than {least} points",
    },
    lesson_of_gain="{arm} is at least {reached} points better than the baseline",
    unresolved="Whether {arm} is better than the baseline is not resolved",
    unresolved_gain="{arm} is better than the baseline, but by how much is not resolved",
)
"""Of arms that differ in anything else."""


@dataclass(frozen=True, kw_only=True)
class ArmVerdict:
    """What one arm's comparison says about the tiers."""

    observed: ResolvedTier
    """Of the point estimate: one of the four tiers, or what is supported where that is below the smallest of them."""
    supported: ResolvedTier | None
    """None where the data decide neither for help nor against it."""
    gains: bool
    """Whether the whole interval is above zero, however little."""
    questions: QuestionsNeeded | None
    """Questions after which the arm would be supported as helping (or as no help, if that is what is observed), were
    the observed difference the true one; None where it is resolved."""

    @property
    def questions_to_resolve(self) -> int | None:
        """Their number; None where it is resolved or no number would do."""
        return self.questions.number if self.questions else None

    @property
    def helps(self) -> bool:
        """Whether the data support at least the lowest tier that helps."""
        return self.supported is not None and planned_tier(self.supported) != "no help"


def arm_verdict(
    arm: ArmComparison, tiers: Tiers | None = None, *, power: float = 0.8, available: int | None = None
) -> ArmVerdict:
    """Judge one arm.

    Args:
        arm: its comparison with the baseline.
        tiers: thresholds of the gains that count.
        power: probability with which the stated number of questions suffices.
        available: test questions that there are in all; None where that is not known.
    """
    tiers = tiers or Tiers()
    found = arm.simultaneous
    observed, supported = tiers.of(arm.difference), tiers.supported(found.low, found.high) if found else None
    resolving = None
    if supported is None:
        side: Literal["lower", "upper"] = "upper" if observed == "no help" else "lower"
        resolving = questions_needed(arm, tiers.marginal / 100, side=side, power=power, available=available)
    is_below = supported is not None and planned_tier(supported) == "no help"
    return ArmVerdict(
        observed=supported if supported is not None and is_below else observed,
        supported=supported,
        gains=found is not None and 0 < found.low < found.high,
        questions=resolving,
    )


@dataclass(frozen=True, kw_only=True)
class JudgedArm:
    """An arm's verdict in words."""

    verdict: ArmVerdict
    headline: str
    lesson: str
    """A sentence: what the data show, and the gain with its interval."""
    how_to_resolve: str | None
    """None where the question is resolved."""


def judge(
    comparison: Comparison,
    name: str,
    tiers: Tiers | None = None,
    *,
    claim: Claim = ARM_IS_BETTER,
    power: float = 0.8,
    available: int | None = None,
    words: Words = QUESTIONS,
) -> JudgedArm:
    """Judge one arm of a comparison.

    Args:
        comparison: of all arms with the baseline.
        name: the arm's.
        tiers: thresholds of the gains that count.
        claim: what is put to the test.
        power: see ``arm_verdict``.
        available: see ``arm_verdict``.
        words: what the sentences call questions and points.

    Raises:
        UsageError: there is no such arm.
    """
    if name not in comparison.arms:
        raise UsageError(f"no arm {name!r} to judge by; choose one of {', '.join(comparison.arms)}")
    tiers, arm = tiers or Tiers(), comparison.arms[name]
    verdict = arm_verdict(arm, tiers, power=power, available=available)
    named = {"arm": name, "least": f"{tiers.marginal:g}"}
    return JudgedArm(
        verdict=verdict,
        headline=_headline(arm, verdict, claim, named),
        lesson=f"{_lesson(verdict, claim, tiers, named)}: {_gain(comparison, name, words)}.",
        how_to_resolve=None if verdict.supported else _resolve(verdict, power, available, words),
    )


@dataclass(frozen=True, kw_only=True)
class Addition:
    """What a verdict says beyond the arm's gain over the baseline."""

    headline: str = ""
    """After the headline and a semicolon."""
    sentence: str = ""
    """A whole sentence, after the verdict's own."""
    remark: str = ""
    """In brackets after the headline."""
    refusal: str = ""
    """Why there is no verdict, whatever the arm's interval; empty where there may be one."""


@dataclass(frozen=True, kw_only=True)
class SweepVerdict:
    """What a sweep says, by its best arm."""

    verdict: ArmVerdict
    """Of the best arm."""
    supported: ResolvedTier | None
    """Of the sweep: its best arm's, None where too few arms have a result."""
    helped: bool
    """Whether the sweep supports at least the lowest tier that helps; ``verdict.gains`` is less."""
    headline: str
    lesson: str
    next_steps: tuple[str, ...]
    """The experiment's, for the supported tier; how to resolve the question where it is not resolved."""
    next_steps_if_confirmed: tuple[str, ...]
    """The experiment's for the observed tier, where the question is not resolved; else empty."""


RUN_AGAIN = "Run what has no result again: the same command with --resume keeps what is done"


def sweep_verdict(
    comparison: Comparison,
    best: str,
    tiers: Tiers | None = None,
    *,
    claim: Claim = LORA_GAINS,
    addition: Addition | None = None,
    next_steps: Mapping[Tier, Sequence[str]] | None = None,
    power: float = 0.8,
    available: int | None = None,
    words: Words = QUESTIONS,
) -> SweepVerdict:
    """Judge a sweep by ``best``, the arm (never the baseline) that was chosen on the selection split.

    Args:
        comparison: of all arms with the baseline.
        best: the arm's name.
        tiers: thresholds of the gains that count.
        claim: what the sweep puts to the test.
        addition: what else it says.
        next_steps: what the experiment plans for each tier; a tier that is missing has none.
        power: see ``arm_verdict``.
        available: see ``arm_verdict``.
        words: what the sentences call questions and points.

    Raises:
        UsageError: there is no such arm.
    """
    tiers, addition, planned = tiers or Tiers(), addition or Addition(), next_steps or {}
    judged = judge(comparison, best, tiers, claim=claim, power=power, available=available, words=words)
    verdict, remarks = judged.verdict, [addition.remark]
    if addition.refusal:
        supported, headline = None, f"Not resolved: {addition.refusal}"
        lesson = f"{claim.unresolved.format(arm=best)}: {_gain(comparison, best, words)}."
        steps: tuple[str, ...] = (RUN_AGAIN,)
    else:
        supported = verdict.supported
        headline = "; ".join(filter(None, (judged.headline, addition.headline)))
        lesson = judged.lesson
        remarks.append(_others(comparison, best, verdict, tiers))
        steps = tuple(planned.get(planned_tier(supported), ())) if supported else (judged.how_to_resolve or "",)
    remark = "; ".join(filter(None, remarks))
    return SweepVerdict(
        verdict=verdict,
        supported=supported,
        helped=supported is not None and verdict.helps,
        headline=f"{headline} ({remark})" if remark else headline,
        lesson=" ".join(filter(None, (lesson, addition.sentence))),
        next_steps=steps,
        next_steps_if_confirmed=() if supported else tuple(planned.get(planned_tier(verdict.observed), ())),
    )


def _headline(arm: ArmComparison, verdict: ArmVerdict, claim: Claim, named: Mapping[str, str]) -> str:
    if arm.simultaneous is None:
        return "Not resolved: the data give no interval"
    if verdict.supported is None:
        estimate = f"below {named['least']} points" if verdict.observed == "no help" else verdict.observed
        if verdict.gains:
            return f"Not resolved: a gain, the estimate is {estimate}, but the data do not settle its tier"
        return f"Not resolved: the estimate is {estimate}, the data do not settle it"
    if not verdict.helps:
        return claim.headlines[verdict.supported].format(**named)
    if verdict.supported == verdict.observed:
        return f"{claim.gains}: {verdict.supported}"
    return f"{claim.gains}: at least {verdict.supported}, the estimate is {verdict.observed}"


def _lesson(verdict: ArmVerdict, claim: Claim, tiers: Tiers, named: Mapping[str, str]) -> str:
    if verdict.supported is None:
        return (claim.unresolved_gain if verdict.gains else claim.unresolved).format(**named)
    if not verdict.helps:
        return claim.lessons[verdict.supported].format(**named)
    reached = tiers.thresholds()[planned_tier(verdict.supported)]
    return claim.lesson_of_gain.format(**named, reached=f"{reached:g}")


def _others(comparison: Comparison, best: str, verdict: ArmVerdict, tiers: Tiers) -> str:
    """Say what a verdict against the chosen arm does not hold for: other arms that help, or that are not resolved."""
    if verdict.helps:
        return ""
    found = [arm_verdict(arm, tiers) for name, arm in comparison.arms.items() if name != best]
    helping, unresolved = sum(one.helps for one in found), sum(one.supported is None for one in found)
    if helping:
        arms = "1 arm that was not chosen gains" if helping == 1 else f"{helping} arms that were not chosen gain"
        return f"{arms} at least {tiers.marginal:g} points"
    if verdict.supported and unresolved:
        return f"{unresolved} other {'arm is' if unresolved == 1 else 'arms are'} not resolved"
    return ""


def _gain(comparison: Comparison, name: str, words: Words) -> str:
    arm = comparison.arms[name]
    difference = round(arm.difference * 100, 1) + 0.0
    lost = f"loses {-difference:.1f} {words.points} to"
    text = f"{name} {f'gains {difference:+.1f} {words.points} over' if difference >= 0 else lost} the baseline"
    if arm.simultaneous is None:
        return f"{text} ({arm.reason})"
    ends = f"{arm.simultaneous.low * 100:+.1f} to {arm.simultaneous.high * 100:+.1f}"  # of the difference, signed
    bound = f"; {arm.reason}" if arm.reason else ""
    interval = f"{100 * comparison.confidence:.6g}% interval" + (f" over all {words.arms}" if words.arms else "")
    return f"{text} ({interval} {ends}, {count(arm.num_questions, words.item)}{bound})"


def _resolve(verdict: ArmVerdict, power: float, available: int | None, words: Words) -> str:
    needed = verdict.questions
    assert needed is not None, "resolved"
    if needed.obstacle == "available":
        most = f"the {available:,} {words.item}s there are"
        return f"It would take more than {most}: more seeds or a larger effect are needed"
    if needed.obstacle == "seeds":
        seeds = (words.more_seeds or "run more seeds").capitalize()
        return f"{seeds}: no number of {words.item}s would resolve it with those that there are"
    if needed.number is None:
        more_seeds = f" and {words.more_seeds}" if words.more_seeds and needed.obstacle != "too few" else ""
        return f"Evaluate {words.more}{more_seeds}: {needed.why_none(words)}"
    return (
        f"Evaluate about {count(needed.number, words.item)}: if the observed difference is the true one, "
        f"that resolves it with a probability of {power:.0%}"
    )
