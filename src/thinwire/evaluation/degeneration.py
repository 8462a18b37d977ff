"""Detect mode collapse (the same answer whatever the input) and answers in a wrong format.

These metrics judge form and not correctness: wrong answers that are as varied and as short as the gold ones are
"healthy".
"""

import math
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

from thinwire.evaluation.scoring import normalize
from thinwire.results.arm_record import DegenerationMetrics


def degeneration_metrics(answers: Sequence[str]) -> DegenerationMetrics:
    """Compute the diversity of ``answers`` (at least one), compared as stripped, lower-cased text."""
    if not answers:
        raise ValueError("no answers to diagnose")
    texts = [_comparable(answer) for answer in answers]
    first_words = Counter(text.split()[0] for text in texts if text)
    word, count = first_words.most_common(1)[0] if first_words else (None, 0)
    spoken = sum(first_words.values())
    return DegenerationMetrics(
        distinct_share=len(set(texts)) / len(texts),
        top_first_word=word,
        top_first_word_share=count / len(texts),
        first_word_entropy=-sum(n / spoken * math.log2(n / spoken) for n in first_words.values()) or 0.0,
        empty_share=texts.count("") / len(texts),
    )


PredictionRow = Mapping[str, Any]
"""One line of ``predictions.jsonl``; id, paragraph_id, question, golds, raw_text, text, exact_match and stop_reason are
used."""

Finding = Literal["healthy", "format only", "collapsed"]

_NUM_EXAMPLES = 5
_LONGEST_REPEAT = 8
"""Maximum length in words of a repeated phrase."""
_COPIED_WORDS = 4
"""Minimum number of consecutive words that count as copied: of 500 gold answers of SQuAD's dev set, none copies as
many."""
_PUNCTUATION = str.maketrans("", "", string.punctuation)


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
class AnswerMetrics:
    """Form metrics of a set of answers. Shares are fractions of all answers, 0 to 1."""

    num_answers: int
    distinct_share: float
    """Distinct values of ``text``, compared as stripped, lower-cased text."""
    top_first_word: str | None
    top_first_word_share: float
    first_word_entropy: float
    """In bits."""
    empty_share: float
    mode_share: float
    """Answers that are the most common one, compared like distinct ones."""
    num_siblings: int
    """Answers to questions whose paragraph has another question in the set."""
    same_in_paragraph_share: float
    """Of the ``num_siblings`` answers, those that equal the answer to another question about the same paragraph."""
    missed_opening_share: float
    """Answers that begin with ``top_first_word`` and neither equal nor contain a gold answer."""
    repeated_share: float
    """Answers whose raw text repeats some phrase of one to eight words three times in succession."""
    run_on_share: float | None
    """Answers cut off at the length limit; None for the gold answers."""
    exact_share: float
    present_not_exact_share: float
    """Answers that are not exact, but whose raw text contains a gold answer as whole words, both normalised."""
    copied_question_share: float
    """Answers of at least four words, all of which occur consecutively in the question; or that contain the whole
    question."""

    @property
    def found_share(self) -> float:
        """Answers that are equal to a gold answer or contain one."""
        return self.exact_share + self.present_not_exact_share


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


def gold_metrics(rows: Sequence[PredictionRow]) -> AnswerMetrics:
    """Compute the form metrics of the first gold answers to the questions of ``rows`` (at least one)."""
    return answer_metrics([gold_row(row) for row in rows])


def answer_metrics(rows: Sequence[PredictionRow]) -> AnswerMetrics:
    """Compute the form metrics of ``rows`` (at least one)."""
    diversity = degeneration_metrics([row["text"] for row in rows])
    texts = [_comparable(row["text"]) for row in rows]
    per_paragraph = Counter(row["paragraph_id"] for row in rows)
    in_paragraph = Counter((row["paragraph_id"], text) for row, text in zip(rows, texts, strict=True))
    num_siblings = sum(count for count in per_paragraph.values() if count > 1)
    return AnswerMetrics(
        **diversity.model_dump(),
        num_answers=len(rows),
        mode_share=max(Counter(texts).values()) / len(rows),
        num_siblings=num_siblings,
        same_in_paragraph_share=sum(n for n in in_paragraph.values() if n > 1) / num_siblings if num_siblings else 0.0,
        missed_opening_share=fmean(_misses(row, diversity.top_first_word) for row in rows),
        repeated_share=fmean(repeats(row["raw_text"]) for row in rows),
        run_on_share=None if "stop_reason" not in rows[0] else fmean(row["stop_reason"] == "length" for row in rows),
        exact_share=fmean(row["exact_match"] == 1 for row in rows),
        present_not_exact_share=fmean(holds_gold(row) for row in rows),
        copied_question_share=fmean(copies(row["raw_text"], row["question"]) for row in rows),
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


def repeats(text: str) -> bool:
    """Return whether a phrase of one to eight words occurs three times in succession, ignoring case and punctuation."""
    words = _words(text)
    for size in range(1, _LONGEST_REPEAT + 1):
        # A phrase of n words occurs three times in a row where 2n consecutive words equal the word n places later.
        run = 0
        for word, later in zip(words, words[size:], strict=False):
            run = run + 1 if word == later else 0
            if run == 2 * size:
                return True
    return False


def holds_gold(row: PredictionRow) -> bool:
    """Return whether an answer that is not exact contains a gold answer as whole words, both normalised."""
    answer = f" {normalize(row['raw_text'])} "
    golds = [normalize(gold) for gold in row["golds"]]
    return row["exact_match"] != 1 and any(f" {gold} " in answer for gold in golds if gold)


def copies(text: str, question: str) -> bool:
    """Return whether ``text`` is four or more consecutive words of the question, or contains the whole question."""
    answered, asked = _words(text), _words(question)
    is_part = len(answered) >= _COPIED_WORDS and _contains(asked, answered)
    return is_part or (len(asked) >= _COPIED_WORDS and _contains(answered, asked))


def _words(text: str) -> list[str]:
    return text.lower().translate(_PUNCTUATION).split()


def _contains(words: Sequence[str], part: Sequence[str]) -> bool:
    return f" {' '.join(part)} " in f" {' '.join(words)} "


def gold_row(row: PredictionRow) -> PredictionRow:
    """Return the row of an answer that is the first gold one."""
    gold = row["golds"][0]
    kept = {key: row[key] for key in ("id", "paragraph_id", "question", "golds")}
    return {**kept, "raw_text": gold, "text": gold, "exact_match": 1.0}


def _comparable(text: str) -> str:
    return text.strip().lower()


def _misses(row: PredictionRow, first_word: str | None) -> bool:
    begins = _comparable(row["text"]).split()[:1] == [first_word]
    return begins and row["exact_match"] != 1 and not holds_gold(row)


def _examples(rows: Sequence[PredictionRow], metric: str, top_word: str | None) -> tuple[FlaggedAnswer, ...]:
    texts = Counter(_comparable(row["text"]) for row in rows)
    in_paragraph = Counter((row["paragraph_id"], _comparable(row["text"])) for row in rows)
    shows = {
        "empty_share": lambda row: not row["text"].strip(),
        "mode_share": lambda row: texts[_comparable(row["text"])] == max(texts.values()),
        "distinct_share": lambda row: texts[_comparable(row["text"])] > 1,
        "same_in_paragraph_share": lambda row: in_paragraph[row["paragraph_id"], _comparable(row["text"])] > 1,
        "repeated_share": lambda row: repeats(row["raw_text"]),
        "copied_question_share": lambda row: copies(row["raw_text"], row["question"]),
        "missed_opening_share": lambda row: _misses(row, top_word),
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
