"""How many questions it takes to tell a difference from a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy.special import ndtri  # type: ignore[import-untyped]

from thinwire.errors import UsageError
from thinwire.stats.bootstrap import ArmComparison
from thinwire.stats.critical import normal_reaching, reach
from thinwire.stats.resampling import ZERO, VariancePart
from thinwire.stats.small_samples import LEAST_PARAGRAPHS
from thinwire.stats.words import QUESTIONS, Words

_MOST = 2**40
"""Questions that nobody asks."""

Obstacle = Literal["too few", "no interval", "wrong side", "seeds", "available"]


@dataclass(frozen=True, kw_only=True)
class QuestionsNeeded:
    """A number of questions, or what stands in its way."""

    number: int | None
    obstacle: Obstacle | None = None
    """None where there is a number. "too few": paragraphs for an interval; "no interval": there is none that could
    narrow, or it is a bound; "wrong side": the estimate is not beyond the threshold; "seeds": the spread over seeds
    alone is too wide; "available": more than there are."""

    @property
    def reason(self) -> str | None:
        """What stands in the way of a number of questions, in words; None where nothing does."""
        return self.why_none(QUESTIONS)

    def why_none(self, words: Words) -> str | None:
        """Say what stands in the way of a number, in the given words; None where nothing does."""
        even = "" if words.cluster == words.item else f", and not most {words.item}s in a few of them"
        reasons = {
            None: None,
            "too few": f"an interval needs at least {LEAST_PARAGRAPHS} {words.cluster}s{even}",
            "no interval": f"the results so far do not say how many {words.item}s would do",
            "wrong side": "the estimate itself is not beyond the threshold",
            "seeds": f"no number of {words.item}s would do: more seeds are needed",
            "available": f"more {words.item}s than there are: more seeds, or a larger effect, are needed",
        }
        return reasons[self.obstacle]


def questions_needed(
    arm: ArmComparison,
    threshold: float,
    *,
    side: Literal["lower", "upper"] = "lower",
    power: float = 0.8,
    available: int | None = None,
) -> QuestionsNeeded:
    """Return how many questions it takes until an end of the simultaneous interval reaches ``threshold`` (a fraction).

    The lower end reaches it from above, the upper end from below. With n questions the standard error is
    ``sqrt(question_variance * n0 / n + seed_variance)``, n0 being those asked so far; so if the observed difference d
    is the true one and questions cluster as they do now, the end passes with probability ``power`` at the smallest n
    with

        reach(n) + z(power) * standard error(n) <= |d - threshold|

    where ``reach`` is ``critical * standard error`` at n0 and has Student's t for the paragraphs and seeds that there
    are (see ``critical``): more questions make the first smaller, never the second. A power of 0.5 gives the bare
    ``d - critical * error = threshold``.

    Args:
        arm: the comparison so far.
        threshold: what the interval is to leave out.
        side: the end of the interval.
        power: from 0.5 to below 1.
        available: how many questions there are in all; None where that is not known.

    Raises:
        UsageError: a power below 0.5 or not below 1.
    """
    if not 0.5 <= power < 1:
        raise UsageError(f"a power of {power} is not from 0.5 to below 1")
    distance = arm.difference - threshold if side == "lower" else threshold - arm.difference
    if arm.outcome == "too few":
        return QuestionsNeeded(number=None, obstacle="too few")
    if arm.outcome != "compared":
        return QuestionsNeeded(number=None, obstacle="no interval")
    if distance <= ZERO:
        return QuestionsNeeded(number=None, obstacle="wrong side")

    def suffices(num: float) -> bool:
        return _reach(arm, num, power) <= distance * (1 + 1e-9)

    if not suffices(math.inf):
        return QuestionsNeeded(number=None, obstacle="seeds")
    if not suffices(most := available or _MOST):
        return QuestionsNeeded(number=None, obstacle="available" if available else "seeds")
    too_few = 0
    while most - too_few > 1:
        middle = (too_few + most) // 2
        too_few, most = (too_few, middle) if suffices(middle) else (middle, most)
    return QuestionsNeeded(number=most)


def _reach(arm: ArmComparison, num_questions: float, power: float) -> float:
    """Return how far beyond a threshold a true difference must be, to pass it with probability ``power``."""
    assert arm.critical is not None
    now, then = _parts(arm, 1.0), _parts(arm, num_questions / arm.num_questions)
    normal = normal_reaching(arm.critical * math.sqrt(sum(variance for variance, _ in now)), *now)
    return reach(normal, *then) + float(ndtri(power)) * math.sqrt(sum(variance for variance, _ in then))


def _parts(arm: ArmComparison, more: float) -> tuple[VariancePart, VariancePart]:
    """Return the variances over paragraphs and seeds, and degrees of freedom, with ``more`` times the questions."""
    assert arm.question_variance is not None
    assert arm.seed_variance is not None
    paragraphs = math.inf if arm.effective_paragraphs is None else arm.effective_paragraphs
    return (arm.question_variance / more, max(1.0, paragraphs * more - 1)), (
        arm.seed_variance,
        arm.seed_degrees or math.inf,
    )
