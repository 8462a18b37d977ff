"""Scores of several runs on the same questions, paired by question and summed by paragraph, ready to be resampled."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinwire.errors import UsageError

Floats = NDArray[np.float64]

_CHUNK = 2_000_000
"""Weights held at a time (16 MB)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Scores of one trained model: three tuples in parallel, one entry a question, in any order.

    Raises:
        UsageError: lengths differ, an id comes twice, or a score is no number from 0 to 1.
    """

    ids: tuple[str, ...]
    paragraph_ids: tuple[str, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        lengths = len(self.ids), len(self.paragraph_ids), len(self.scores)
        if len(set(lengths)) > 1:
            raise UsageError("{} ids, {} paragraph ids and {} scores; give one each a question".format(*lengths))
        if repeated := len(self.ids) - len(set(self.ids)):
            raise UsageError(f"{repeated} question ids come more than once; keep one prediction a question")
        # The comparison is false for NaN.
        if bad := [id_ for id_, score in zip(self.ids, self.scores, strict=True) if not 0.0 <= score <= 1.0]:
            raise UsageError(f"{len(bad)} scores are no number from 0 to 1 (first: question {bad[0]})")

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], metric: str = "score") -> Run:
        """From rows as in ``predictions.jsonl``; ``metric`` is the key of the score, and a null score is an error."""
        return cls(
            ids=tuple(row["id"] for row in rows),
            paragraph_ids=tuple(row["paragraph_id"] for row in rows),
            scores=tuple(math.nan if row[metric] is None else float(row[metric]) for row in rows),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Runs on the same questions, summed by paragraph."""

    sums: Floats
    """``[G, R]``: the sum of each run's scores in each paragraph."""
    sizes: Floats
    """``[G]``: questions in each paragraph."""


def panel(runs: Sequence[Run]) -> Panel:
    """Pair ``runs`` by question id and sum by paragraph; the order of a run's questions changes nothing.

    Raises:
        UsageError: nothing in common, questions missing from some run, or a question that two runs put into different
            paragraphs.
    """
    every = set().union(*(run.ids for run in runs))
    shared = sorted(every.intersection(*(run.ids for run in runs)))
    if not shared:
        raise UsageError("the runs have no question in common; compare runs on the same split")
    if len(every) > len(shared):
        raise UsageError(
            f"{len(every) - len(shared)} of {len(every)} questions are missing from at least one run; "
            "evaluate all runs on the same questions"
        )
    paragraph_of: dict[str, str] = {}
    for run in runs:
        for id_, paragraph in zip(run.ids, run.paragraph_ids, strict=True):
            if paragraph_of.setdefault(id_, paragraph) != paragraph:
                raise UsageError(f"question {id_} is in paragraph {paragraph_of[id_]} and in {paragraph}")
    _, rows = np.unique([paragraph_of[id_] for id_ in shared], return_inverse=True)
    score_of = [dict(zip(run.ids, run.scores, strict=True)) for run in runs]
    sums = [np.bincount(rows, weights=[scores[id_] for id_ in shared]) for scores in score_of]
    sizes = np.bincount(rows).astype(np.float64)
    return Panel(sums=np.stack(sums, axis=1), sizes=sizes)


def paragraph_weights(num_paragraphs: int, num_resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each resample draws each paragraph: chunks ``[b, G]``, ``num_resamples`` rows in all."""
    rows = max(1, _CHUNK // num_paragraphs)
    for start in range(0, num_resamples, rows):
        num = min(rows, num_resamples - start)
        drawn = rng.integers(num_paragraphs, size=(num, num_paragraphs)) + np.arange(num)[:, None] * num_paragraphs
        counts = np.bincount(drawn.ravel(), minlength=num * num_paragraphs)
        yield counts.reshape(num, num_paragraphs).astype(np.float64)
