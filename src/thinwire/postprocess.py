"""Pure text-to-text extractors applied to a raw answer before it is scored (the plan's Phase 0).

They mend format, not understanding: score them on compressed and on uncompressed outputs alike, and a gain that both
show is one of format.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from thinwire.scoring import best_over_golds

_LEADING = re.compile(r"^(?![$€£¥+-]\d)[\W_]+?(?=[$€£¥+-]\d|[^\W_]|$)")
"""Everything before the first letter or digit, but for a sign or currency that belongs to a number."""
_CLAUSE_END = re.compile(r"(?<!\b[A-Z])(?<!\b[A-Z][a-z])[,;.!?](?=\s|$)|\s[-\u2013\u2014]\s")


def as_is(text: str) -> str:
    """The text itself."""
    return text


def first_line(text: str) -> str:
    """The first line that holds anything but white space, stripped; empty if there is none."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def strip_leading_punctuation(text: str) -> str:
    """``text`` from its first letter or digit on, with a sign or currency right before a digit; stripped."""
    return _LEADING.sub("", text.strip()).strip()


def first_clause(text: str) -> str:
    """``text`` up to the first of ``, ; . ! ?`` before white space or the end, or up to a spaced dash; stripped.

    A point after one capital or a capital and a small letter ends no clause (J. R. R. Tolkien, St. Louis).
    """
    return _CLAUSE_END.split(text.strip(), maxsplit=1)[0].strip()


def first_words(text: str, num_words: int) -> str:
    """The first ``num_words`` words (at least one), parted by single blanks."""
    if num_words < 1:
        raise ValueError(f"the first {num_words} words are no answer; take at least 1")
    return " ".join(text.split()[:num_words])


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
"""Each works on what the ones before it leave, up to the line without leading punctuation, which the clause and the
words are taken from."""


@dataclass(frozen=True, kw_only=True)
class ExtractorScore:
    """Means over all questions, as fractions."""

    exact_match: float
    f1: float
    changed_share: float
    """Answers that are not what the first line, the package's own way of scoring, would be."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def score_extractors(rows: Sequence[Mapping[str, Any]]) -> dict[str, ExtractorScore]:
    """Score every extractor on rows as in ``predictions.jsonl`` (at least one; ``raw_text`` and ``golds`` are read).

    A score is the best over all golds of a question, as always.
    """
    if not rows:
        raise ValueError("no predictions to score")
    return {name: _score(extract, rows) for name, extract in EXTRACTORS.items()}


def _score(extract: Callable[[str], str], rows: Sequence[Mapping[str, Any]]) -> ExtractorScore:
    answers = [extract(row["raw_text"]) for row in rows]
    scores = [best_over_golds(answer, row["golds"]) for answer, row in zip(answers, rows, strict=True)]
    return ExtractorScore(
        exact_match=fmean(exact for exact, _ in scores),
        f1=fmean(overlap for _, overlap in scores),
        changed_share=fmean(a != first_line(row["raw_text"]) for a, row in zip(answers, rows, strict=True)),
    )
