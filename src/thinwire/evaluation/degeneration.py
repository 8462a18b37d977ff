"""Detect mode collapse (the same answer whatever the input) and answers in a wrong format.

These findings judge form and not correctness: wrong answers that are as varied and as short as the gold ones are
"healthy".
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from thinwire.evaluation.answer_metrics import (
    AnswerMetrics,
    PredictionRow,
    answer_metrics,
    comparable,
    copies,
    gold_metrics,
    holds_gold,
    misses,
    repeats,
)

Finding = Literal["healthy", "format only", "collapsed"]

_NUM_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Thresholds of the findings. Shares, 0 to 1; "above gold" means added to the share of the gold answers.

    ``benchmarks/degeneration.py`` measures how often healthy answers pass for collapsed under them, and which share of
    the answers must be degenerate to be found. Limits on shares of independent answers are raised by a sampling
    allowance of ``deviations`` standard errors.
    """

    empty: float = 0.25
    """Collapsed from this share of empty answers."""
    mode_above_gold: float = 0.25
    """Collapsed from this share of answers that are one and the same."""
    distinct_of_gold: float = 0.7
    """Collapsed if the share of distinct answers is below this multiple of the gold answers'."""
    same_in_paragraph_above_gold: float = 0.25
    """Collapsed from this share of answers that are the same as to another question about their paragraph."""
    repeated_above_gold: float = 0.1
    """Collapsed from this share of answers with a phrase three times in a row."""
    copied_above_gold: float = 0.25
    """Collapsed from this share of answers that copy their question."""
    missed_opening_above_gold: float = 0.3
    """Collapsed from this share of answers with the most common first word that do not contain a gold answer. Added to
    the share expected of answers that begin like the gold ones and miss them as often as these do."""
    missed_per_found: float = 2.5
    """The limit of missed openings rises by this multiple of the share of answers that have the same first word and do
    contain a gold answer, as far as these are more than expected of answers that begin like the gold ones."""
    present_not_exact: float = 0.1
    """Format only from this share of answers that contain a gold answer without being equal to it, if they are also at
    least as many as the exact ones: at least half of the found answers are then lost to their format."""
    deviations: float = 1.645
    """Sampling allowance in binomial standard errors; 1.645 is the 95 % quantile of the normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One criterion: a metric, its limit for these questions, and whether the limit is exceeded."""

    sign_of: Finding
    metric: str
    """Name of a field of ``AnswerMetrics``."""
    value: float
    limit: float
    beyond: bool


@dataclass(frozen=True, kw_only=True)
class FlaggedAnswer:
    """An example answer in a diagnosis."""

    id: str
    question: str
    gold: str
    raw_text: str
    shows: str
    """Why it was chosen: a field of ``AnswerMetrics`` without ``_share``, or "answer" if it shows no problem."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A finding with the metrics that decided it."""

    finding: Finding
    evidence: tuple[Evidence, ...]
    """All criteria, the decisive ones first."""
    answers: AnswerMetrics
    gold: AnswerMetrics
    """The first gold answers of the same questions, treated as predictions."""
    examples: tuple[FlaggedAnswer, ...]
    """Up to five, those that show the finding first, then in the order of their ids."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def diagnose(
    predictions: Sequence[PredictionRow], limits: Limits | None = None, *, gold: AnswerMetrics | None = None
) -> Diagnosis:
    """Judge the form of ``predictions`` (at least one).

    Args:
        gold: ``gold_metrics`` of the same questions, where they are at hand.
    """
    answers, gold = answer_metrics(predictions), gold or gold_metrics(predictions)
    evidence = judge(answers, gold, limits or Limits())
    finding = finding_of(evidence)
    decisive = [e for e in evidence if e.beyond and e.sign_of == finding]
    return Diagnosis(
        finding=finding,
        evidence=(*decisive, *(e for e in evidence if e not in decisive)),
        answers=answers,
        gold=gold,
        examples=_examples(predictions, decisive[0].metric if decisive else "answer", answers.top_first_word),
    )


def judge(answers: AnswerMetrics, gold: AnswerMetrics, limits: Limits) -> list[Evidence]:
    """Compare ``answers`` with ``gold`` by all criteria, in the order in which they decide."""
    found: list[Evidence] = []

    def add(sign_of: Finding, metric: str, limit: float, *, below: bool = False) -> None:
        value = getattr(answers, metric)
        beyond = value < limit if below else value >= limit
        found.append(Evidence(sign_of=sign_of, metric=metric, value=value, limit=limit, beyond=beyond))

    def most(share: float, num: float = answers.num_answers) -> float:
        return share + limits.deviations * _standard_error(share, num)

    begun_and_found = gold.top_first_word_share * answers.found_share
    allowed = begun_and_found + limits.deviations * _standard_error(begun_and_found, answers.num_answers)
    relief = max(0.0, answers.top_first_word_share - answers.missed_opening_share - allowed)
    missed = gold.top_first_word_share - begun_and_found + limits.missed_opening_above_gold
    missed += limits.missed_per_found * relief
    # Equal answers come in pairs at least, so a pair is one observation; half of one is a continuity correction.
    num_pairs = max(answers.num_siblings, 1) / 2
    same = gold.same_in_paragraph_share + limits.same_in_paragraph_above_gold + 0.5 / num_pairs
    add("collapsed", "empty_share", most(limits.empty))
    add("collapsed", "mode_share", most(gold.mode_share + limits.mode_above_gold))
    add("collapsed", "distinct_share", limits.distinct_of_gold * gold.distinct_share, below=True)
    add("collapsed", "same_in_paragraph_share", most(same, num_pairs))
    add("collapsed", "repeated_share", most(gold.repeated_share + limits.repeated_above_gold))
    add("collapsed", "copied_question_share", most(gold.copied_question_share + limits.copied_above_gold))
    add("collapsed", "missed_opening_share", most(missed))
    add("format only", "present_not_exact_share", max(limits.present_not_exact, answers.exact_share))
    return found


def finding_of(evidence: Sequence[Evidence]) -> Finding:
    """Return what the first criterion beyond its limit is a sign of; "healthy" if there is none."""
    return next((e.sign_of for e in evidence if e.beyond), "healthy")


def _standard_error(share: float, num: float) -> float:
    """Return the binomial standard error of a share of ``num`` answers; 0 where the share is 1 or more."""
    return math.sqrt(share * (1 - share) / num) if share < 1 else 0.0


def _examples(rows: Sequence[PredictionRow], metric: str, top_word: str | None) -> tuple[FlaggedAnswer, ...]:
    texts = Counter(comparable(row["text"]) for row in rows)
    in_paragraph = Counter((row["paragraph_id"], comparable(row["text"])) for row in rows)
    shows = {
        "empty_share": lambda row: not row["text"].strip(),
        "mode_share": lambda row: texts[comparable(row["text"])] == max(texts.values()),
        "distinct_share": lambda row: texts[comparable(row["text"])] > 1,
        "same_in_paragraph_share": lambda row: in_paragraph[row["paragraph_id"], comparable(row["text"])] > 1,
        "repeated_share": lambda row: repeats(row["raw_text"]),
        "copied_question_share": lambda row: copies(row["raw_text"], row["question"]),
        "missed_opening_share": lambda row: misses(row, top_word),
        "present_not_exact_share": holds_gold,
    }.get(metric, lambda _: False)
    chosen = sorted(rows, key=lambda row: (not shows(row), row["id"]))[:_NUM_EXAMPLES]
    return tuple(
        FlaggedAnswer(
            id=row["id"],
            question=row["question"],
            gold=row["golds"][0],
            raw_text=row["raw_text"],
            shows=metric.removesuffix("_share") if shows(row) else "answer",
        )
        for row in chosen
    )
