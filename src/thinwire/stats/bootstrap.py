"""Compare many arms with one baseline: the contrasts arm minus baseline, of means over each arm's runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from thinwire.errors import UsageError
from thinwire.stats.contrasts import Inference, compare_contrasts
from thinwire.stats.pairing import Run
from thinwire.stats.words import QUESTIONS, Words

_BASELINE = "the baseline"


@dataclass(frozen=True, kw_only=True)
class ArmComparison(Inference):
    """One arm against the baseline, in fractions."""

    num_runs: int
    num_baseline_runs: int
    mean: float
    baseline_mean: float
    difference: float


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
    words: Words = QUESTIONS,
) -> Comparison:
    """Compare each arm (one or more runs) with the baseline (one or more runs).

    The intervals cover the choice of questions, and that of seeds wherever there are several runs. ``words`` are what
    the texts of the result call questions and paragraphs.

    Raises:
        UsageError: no arms or runs, runs that cannot be paired (see ``panel``), fewer than 100 resamples, or a
            confidence outside 0.5 to 1.
    """
    if not baseline or not arms or not all(arms.values()):
        raise UsageError("a comparison needs a baseline run, at least one arm, and at least one run of each arm")
    if _BASELINE in arms:
        raise UsageError(f"no arm can be called {_BASELINE!r}; give it another name")
    found = compare_contrasts(
        {_BASELINE: baseline, **arms},
        {name: {name: 1.0, _BASELINE: -1.0} for name in arms},
        confidence=confidence,
        num_resamples=num_resamples,
        rng=rng,
        words=words,
    )
    named = {
        name: ArmComparison(
            **{one.name: getattr(contrast, one.name) for one in fields(Inference)},
            num_runs=contrast.num_runs[name],
            num_baseline_runs=contrast.num_runs[_BASELINE],
            mean=contrast.means[name],
            baseline_mean=contrast.means[_BASELINE],
            difference=contrast.estimate,
        )
        for name, contrast in found.contrasts.items()
    }
    return Comparison(arms=named, confidence=confidence, num_resamples=num_resamples)
