"""Estimate contrasts between groups of runs on the same questions, with simultaneous intervals over all of them.

A contrast is a weighted sum of group means whose weights sum to 0: ``{"arm": 1, "baseline": -1}`` is a gain, and
``{"arm": 1, "baseline": -1, "reference_arm": -1, "reference_baseline": 1}`` the difference between two gains, which is
an interaction. All is paired by question and clustered by paragraph.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thinwire.errors import UsageError
from thinwire.stats.inference import Uncertainty, infer
from thinwire.stats.pairing import Run, panel
from thinwire.stats.resampling import ZERO, Design
from thinwire.stats.words import QUESTIONS, Words


@dataclass(frozen=True, kw_only=True)
class Inference(Uncertainty):
    """What is known of one estimate, in fractions."""

    covers: str
    """The uncertainty in the intervals: "questions", or "questions and seeds", with the groups of one run whose spread
    over seeds is taken from the others."""
    num_questions: int
    num_paragraphs: int
    fewest_runs: int = 1
    """Runs (seeds) of the group that has the fewest among those compared; below 5, the spread over seeds is rough."""


@dataclass(frozen=True, kw_only=True)
class Contrast(Inference):
    """One contrast."""

    estimate: float
    weights: dict[str, float]
    """Of the groups it is made of."""
    num_runs: dict[str, int]
    """Of the same groups."""
    means: dict[str, float]
    """Mean score of the same groups."""


@dataclass(frozen=True, kw_only=True)
class ContrastComparison:
    """All contrasts, in the order given."""

    contrasts: dict[str, Contrast]
    confidence: float
    num_resamples: int


def compare_contrasts(
    groups: Mapping[str, Sequence[Run]],
    contrasts: Mapping[str, Mapping[str, float]],
    *,
    untrained: Collection[str] = (),
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    rng: np.random.Generator | int = 0,
    words: Words = QUESTIONS,
) -> ContrastComparison:
    """Estimate each contrast between the groups' means, each group having one or more runs.

    The intervals cover the choice of questions, and that of seeds wherever a group has several runs; they hold for
    all contrasts together.

    Args:
        groups: runs by the group's name. Groups that no contrast names still help to estimate the spread over seeds.
        contrasts: weights of groups by the contrast's name; each contrast's weights sum to 0.
        untrained: groups whose scores no seed changes, which vary over questions only.
        words: what the texts of the result call questions and paragraphs.

    Raises:
        UsageError: no groups, runs or contrasts, weights of an unknown group or that do not sum to 0, runs that cannot
            be paired (see ``panel``), fewer than 100 resamples, or a confidence outside 0.5 to 1.
    """
    _check(groups, contrasts, untrained, confidence, num_resamples)
    names = list(groups)
    weights = np.array([[float(one.get(name, 0.0)) for one in contrasts.values()] for name in names])
    design = Design.of(
        panel([run for runs in groups.values() for run in runs]),
        [len(runs) for runs in groups.values()],
        weights,
        [name in untrained for name in names],
    )
    described = [_describe(design, names, k, words) for k in range(len(contrasts))]
    inferred = infer(
        design, confidence=confidence, num_resamples=num_resamples, rng=np.random.default_rng(rng), words=words
    )
    found = [Contrast(**what, **vars(known)) for what, known in zip(described, inferred, strict=True)]
    named = dict(zip(contrasts, found, strict=True))
    return ContrastComparison(contrasts=named, confidence=confidence, num_resamples=num_resamples)


def _check(
    groups: Mapping[str, Sequence[Run]],
    contrasts: Mapping[str, Mapping[str, float]],
    untrained: Collection[str],
    confidence: float,
    num_resamples: int,
) -> None:
    if not contrasts or not groups or not all(groups.values()):
        raise UsageError("a comparison needs at least one contrast, and at least one run of each group")
    for name, weights in contrasts.items():
        if unknown := sorted(set(weights) - set(groups)):
            raise UsageError(f"contrast {name!r} names {unknown[0]!r}; choose among {', '.join(groups)}")
        total = sum(weights.values())
        if not any(weights.values()) or not abs(total) < ZERO:
            raise UsageError(
                f"the weights of contrast {name!r} sum to {total:g}; give weights, not all 0, that sum to 0"
            )
    if unknown := sorted(set(untrained) - set(groups)):
        raise UsageError(f"there is no group {unknown[0]!r} to be untrained; choose among {', '.join(groups)}")
    if num_resamples < 100 or not 0.5 <= confidence < 1:
        raise UsageError(f"{num_resamples} resamples, confidence {confidence}: use at least 100, and 0.5 to below 1")


def _describe(design: Design, names: Sequence[str], k: int, words: Words) -> dict[str, Any]:
    members = [g for g in range(len(names)) if design.weights[g, k]]
    trained = [g for g in members if not design.untrained[g]] or members
    return {
        "estimate": float(design.estimates[k]),
        "weights": {names[g]: float(design.weights[g, k]) for g in members},
        "num_runs": {names[g]: design.num_runs[g] for g in members},
        "means": {names[g]: float(design.means[g]) for g in members},
        "covers": _covers(design, [names[g] for g in trained if design.num_runs[g] == 1], words),
        "num_questions": int(design.sizes.sum()),
        "num_paragraphs": len(design.sizes),
        "fewest_runs": min(design.num_runs[g] for g in trained),
    }


def _covers(design: Design, alone: Sequence[str], words: Words) -> str:
    if not design.run_degrees:
        return f"{words.item}s"
    borrowed = f" (one run of {', '.join(alone)}: spread over seeds taken from the other groups)" if alone else ""
    return f"{words.item}s and seeds{borrowed}"
