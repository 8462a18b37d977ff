"""Text-to-text extractors applied to a raw answer before it is scored (the plan's Phase 0).

They repair the format and not the content: score them on compressed and uncompressed outputs alike; a gain that both
show is one of format.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any

from thinwire.tasks.squad_metric import best_over_golds

_LEADING = re.compile(r"^(?![$€£¥+-]\d)[\W_]+?(?=[$€£¥+-]\d|[^\W_]|$)")
"""Everything before the first letter or digit, except a sign or currency that belongs to a number."""
_CLAUSE_END = re.compile(r"(?<!\b[A-Z])(?<!\b[A-Z][a-z])[,;.!?](?=\s|$)|\s[-\u2013\u2014]\s")


def as_is(text: str) -> str:
    """Return the text unchanged."""
    return text


@lru_cache(maxsize=16)  # most extractors begin with it
def first_line(text: str) -> str:
    """Return the first line that is not white space, stripped; empty if there is none."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def strip_leading_punctuation(text: str) -> str:
    """Cut ``text`` before its first letter or digit, keeping a sign or currency right before a digit; strip it."""
    return _LEADING.sub("", text.strip()).strip()


def first_clause(text: str) -> str:
    """Cut ``text`` at the first of ``, ; . ! ?`` before white space or the end, or at a spaced dash; strip it.

    A point after one capital, or after a capital and a small letter, ends no clause (J. R. R. Tolkien, St. Louis).
    """
    return _CLAUSE_END.split(text.strip(), maxsplit=1)[0].strip()


def first_words(text: str, num_words: int) -> str:
    """Return the first ``num_words`` words (at least one), separated by single spaces."""
    if num_words < 1:
        raise ValueError(f"the first {num_words} words are no answer; take at least 1")
    return " ".join(text.split()[:num_words])


@lru_cache(maxsize=16)
def _clean_line(text: str) -> str:
    return strip_leading_punctuation(first_line(text))


def _clean_clause(text: str) -> str:
    return first_clause(_clean_line(text))


EXTRACTORS: Mapping[str, Callable[[str], str]] = {
    "raw": as_is,
    "first_line": first_line,
    "leading_punctuation": _clean_line,
    "first_clause": _clean_clause,
    "first_1_words": lambda text: first_words(_clean_line(text), 1),
    "first_3_words": lambda text: first_words(_clean_line(text), 3),
    "first_5_words": lambda text: first_words(_clean_line(text), 5),
}
"""Extractors by name. Clause and words are taken from the first line without leading punctuation."""

EXTRACTED = frozenset({"f1", "exact_match"})
"""Metrics of the tasks whose answers extractors are scored on: a gain in another metric they cannot show."""


@dataclass(frozen=True, kw_only=True)
class ExtractorScore:
    """Mean scores of an extractor over all questions, as fractions."""

    exact_match: float
    f1: float
    changed_share: float
    """Share of answers that differ from their first line, which the package scores by default."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def score_extractors(rows: Sequence[Mapping[str, Any]]) -> dict[str, ExtractorScore]:
    """Score every extractor on rows of ``predictions.jsonl`` (at least one; ``raw_text`` and ``golds`` are used).

    Each score is the best over a question's gold answers, as always.
    """
    if not rows:
        raise ValueError("no predictions to score")
    by_row = [_score_row(row["raw_text"], tuple(row["golds"])) for row in rows]
    return {
        name: ExtractorScore(
            exact_match=fmean([one[0] for one in scores]),
            f1=fmean([one[1] for one in scores]),
            changed_share=fmean([one[2] for one in scores]),
        )
        for name, scores in zip(EXTRACTORS, zip(*by_row, strict=True), strict=True)
    }


def mean_extractor_scores(runs: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, ExtractorScore]:
    """Average each extractor's scores over the runs (at least one) of an arm, as its F1 is."""
    scores = [score_extractors(rows) for rows in runs]
    return {
        name: ExtractorScore(
            **{key: fmean(asdict(one[name])[key] for one in scores) for key in asdict(scores[0][name])}
        )
        for name in scores[0]
    }


@lru_cache(maxsize=65_536)  # arms and seeds often agree
def _score_row(raw_text: str, golds: tuple[str, ...]) -> tuple[tuple[float, float, bool], ...]:
    """Return exact match, F1 and whether the answer is another than the first line, for each of ``EXTRACTORS``."""
    line = first_line(raw_text)
    answers = [extract(raw_text) for extract in EXTRACTORS.values()]
    # Most extractors return the same answer, which is scored once.
    scores = {answer: (*best_over_golds(answer, golds), answer != line) for answer in set(answers)}
    return tuple(scores[answer] for answer in answers)
