"""Choose an arm by its score on the selection split, never by the test split."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from thinwire.results.read import Finished, Results


def choose_best(results: Results) -> str:
    """Name the arm with the highest selection score, mean over its seeds, the first of equals."""
    return max(results.arms, key=lambda name: mean_selection_score(results.arms[name]))


def choose_beside_baseline(results: Results) -> str:
    """Name the best of the arms beside the baseline: a sweep is judged by it where the baseline itself was chosen."""
    others = {name: runs for name, runs in results.arms.items() if name != results.sweep.baseline}
    return max(others, key=lambda name: mean_selection_score(others[name]))


def mean_selection_score(runs: Sequence[Finished]) -> float:
    """Score on the selection questions, mean over the seeds of an arm or control."""
    return fmean(run.record.done.selection.score for run in runs)
