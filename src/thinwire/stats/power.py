"""How many questions it takes to tell a difference from a threshold."""

from __future__ import annotations

import math
from typing import Literal

from scipy.special import ndtri  # type: ignore[import-untyped]

from thinwire.errors import UsageError
from thinwire.stats.bootstrap import ArmComparison
from thinwire.stats.resampling import ZERO


def questions_needed(
    arm: ArmComparison, threshold: float, *, side: Literal["lower", "upper"] = "lower", power: float = 0.8
) -> int | None:
    """Return how many questions it takes until an end of the simultaneous interval reaches ``threshold`` (a fraction).

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
    if arm.outcome != "compared" or distance <= ZERO:
        return None
    assert arm.critical is not None
    assert arm.question_variance is not None
    assert arm.seed_variance is not None
    room = (distance / (arm.critical + float(ndtri(power)))) ** 2 - arm.seed_variance
    if room <= ZERO**2:
        return None
    # Rounded first: 25000.000000000004 is no reason to ask one more.
    return max(1, math.ceil(round(arm.num_questions * arm.question_variance / room, 6)))
