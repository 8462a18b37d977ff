"""Measure the form of a set of answers: how varied they are, and how many are empty, repetitive, copied or wordy."""

import math
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from thinwire.results.arm_record import DegenerationMetrics
from thinwire.tasks.squad_metric import normalize

PredictionRow = Mapping[str, Any]
"""One line of ``predictions.jsonl``; id, paragraph_id, question, golds, raw_text, text, exact_match and stop_reason are
used."""

_LONGEST_REPEAT = 8
"""Maximum length in words of a repeated phrase."""
_COPIED_WORDS = 4
"""Minimum number of consecutive words that count as copied: of 500 gold answers of SQuAD's dev set, none copies as
many."""
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def degeneration_metrics(answers: Sequence[str]) -> DegenerationMetrics:
    """Compute the diversity of ``answers`` (at least one), compared as stripped, lower-cased text."""
    if not answers:
        raise ValueError("no answers to diagnose")
    texts = [comparable(answer) for answer in answers]
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


def gold_metrics(rows: Sequence[PredictionRow]) -> AnswerMetrics:
    """Compute the form metrics of the first gold answers to the questions of ``rows`` (at least one)."""
    return answer_metrics([gold_row(row) for row in rows])


def answer_metrics(rows: Sequence[PredictionRow]) -> AnswerMetrics:
    """Compute the form metrics of ``rows`` (at least one)."""
    diversity = degeneration_metrics([row["text"] for row in rows])
    texts = [comparable(row["text"]) for row in rows]
    per_paragraph = Counter(row["paragraph_id"] for row in rows)
    in_paragraph = Counter((row["paragraph_id"], text) for row, text in zip(rows, texts, strict=True))
    num_siblings = sum(count for count in per_paragraph.values() if count > 1)
    return AnswerMetrics(
        **diversity.model_dump(),
        num_answers=len(rows),
        mode_share=max(Counter(texts).values()) / len(rows),
        num_siblings=num_siblings,
        same_in_paragraph_share=sum(n for n in in_paragraph.values() if n > 1) / num_siblings if num_siblings else 0.0,
        missed_opening_share=fmean(misses(row, diversity.top_first_word) for row in rows),
        repeated_share=fmean(repeats(row["raw_text"]) for row in rows),
        run_on_share=None if "stop_reason" not in rows[0] else fmean(row["stop_reason"] == "length" for row in rows),
        exact_share=fmean(row["exact_match"] == 1 for row in rows),
        present_not_exact_share=fmean(holds_gold(row) for row in rows),
        copied_question_share=fmean(copies(row["raw_text"], row["question"]) for row in rows),
    )


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


def comparable(text: str) -> str:
    """Return ``text`` stripped and lower-cased, as answers are compared with each other."""
    return text.strip().lower()


def misses(row: PredictionRow, first_word: str | None) -> bool:
    """Return whether an answer begins with ``first_word`` and neither equals nor contains a gold answer."""
    begins = comparable(row["text"]).split()[:1] == [first_word]
    return begins and row["exact_match"] != 1 and not holds_gold(row)
