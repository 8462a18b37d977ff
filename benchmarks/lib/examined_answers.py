"""Answers examined once, so that the metrics of many sets drawn from them are computed fast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.answer_sets import Row
from thinwire.evaluation.answer_metrics import AnswerMetrics, copies, holds_gold, repeats


class Vocabulary:
    """Number texts in the order of their first occurrence."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}

    def number(self, text: Any) -> int:
        """Return the number of ``text``, from 0."""
        return self.numbers.setdefault(text, len(self.numbers))


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the metrics need of each answer, an array of all questions each."""

    text: np.ndarray
    first_word: np.ndarray
    """-1 where the answer is empty."""
    in_paragraph: np.ndarray
    """A number for each text of each paragraph."""
    paragraph: np.ndarray
    flags: np.ndarray
    """Columns: repeats, cut off, exact, present but not exact, copied question; float64."""

    @classmethod
    def of(cls, rows: Sequence[Row], texts: Vocabulary, words: Vocabulary, paragraphs: Vocabulary) -> "Answers":
        """Examine ``rows``; answers that shall be mixed must share the vocabularies."""
        compared = [row["text"].strip().lower() for row in rows]
        number_of_text = np.array([texts.number(text) for text in compared])
        paragraph = np.array([paragraphs.number(row["paragraph_id"]) for row in rows])
        return cls(
            text=number_of_text,
            first_word=np.array([words.number(text.split()[0]) if text else -1 for text in compared]),
            in_paragraph=paragraph * 1_000_000 + number_of_text,
            paragraph=paragraph,
            flags=np.array(
                [
                    [
                        repeats(row["raw_text"]),
                        row.get("stop_reason") == "length",
                        row["exact_match"] == 1,
                        holds_gold(row),
                        copies(row["raw_text"], row["question"]),
                    ]
                    for row in rows
                ],
                dtype=np.float64,
            ),
        )

    def take(self, places: np.ndarray) -> "Answers":
        """Return the answers at ``places``, in this order."""
        return Answers(**{name: getattr(self, name)[places] for name in vars(self)})

    def replaced(self, places: np.ndarray, by: "Answers") -> "Answers":
        """Return these answers with those at ``places`` replaced by ``by``, which are as many."""
        changed = {name: getattr(self, name).copy() for name in vars(self)}
        for name, values in changed.items():
            values[places] = getattr(by, name)
        return Answers(**changed)

    def metrics(self) -> AnswerMetrics:
        """Compute what ``thinwire.evaluation.answer_metrics.answer_metrics`` computes of the same answers, faster."""
        num = len(self.text)
        spoken = np.bincount(self.first_word[self.first_word >= 0]) if (self.first_word >= 0).any() else np.zeros(1)
        shares = spoken[spoken > 0] / max(spoken.sum(), 1)
        top = int(spoken.argmax()) if spoken.any() else None
        of_text = np.unique(self.text, return_counts=True)[1]
        of_paragraph = np.unique(self.paragraph, return_counts=True)[1]
        same = np.unique(self.in_paragraph, return_counts=True)[1]
        siblings = int(of_paragraph[of_paragraph > 1].sum())
        repeated, cut, exact, present, copied = self.flags.mean(axis=0).tolist()
        found = (self.flags[:, 2] + self.flags[:, 3]) > 0
        return AnswerMetrics(
            distinct_share=len(of_text) / num,
            top_first_word=None if top is None else str(top),
            top_first_word_share=float(spoken.max()) / num,
            first_word_entropy=float(-(shares * np.log2(shares)).sum()) or 0.0,
            empty_share=float((self.first_word < 0).mean()),
            num_answers=num,
            mode_share=float(of_text.max()) / num,
            num_siblings=siblings,
            same_in_paragraph_share=float(same[same > 1].sum()) / siblings if siblings else 0.0,
            missed_opening_share=float(((self.first_word == top) & ~found).mean()) if top is not None else 0.0,
            repeated_share=repeated,
            run_on_share=cut,
            exact_share=exact,
            present_not_exact_share=present,
            copied_question_share=copied,
        )
