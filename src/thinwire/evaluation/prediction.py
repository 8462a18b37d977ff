"""An answered question with its scores, and the means over many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from thinwire.data.squad import Example
from thinwire.evaluation.answer_metrics import degeneration_metrics
from thinwire.evaluation.generation import StopReason
from thinwire.results.arm_record import Scores

AnswerEnd = StopReason | Literal["choice", "likelihood"]
"""Why a decoded answer ended; or that it was chosen, or that none was given."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """An answered question with its scores, which are fractions, 0 to 1."""

    id: str
    paragraph_id: str
    question: str
    golds: tuple[str, ...]
    raw_text: str
    """The whole answer: decoded up to its end token or, with ``stop=length``, up to the length limit; or the chosen
    option; empty where no answer is given."""
    text: str
    """The scored text: the first line of ``raw_text``, or all of it."""
    score: float
    """The task's score of ``text``, or of the probability of a given text."""
    exact_match: float
    """1 where the answer is a gold one, else 0; 0 where no answer is given."""
    raw_score: float
    """The score of ``raw_text``."""
    raw_exact_match: float
    """Exact match of ``raw_text``."""
    stop_reason: AnswerEnd

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


class TextScores(NamedTuple):
    """The scores of one text."""

    score: float
    exact_match: float


def make_prediction(
    example: Example,
    raw_text: str,
    raw_scores: TextScores,
    end: AnswerEnd,
    *,
    text: str | None = None,
    scores: TextScores | None = None,
) -> Prediction:
    """Return the prediction of an answer.

    Args:
        text: the scored part of ``raw_text``, with its ``scores``; by default all of it.
    """
    text, scores = raw_text if text is None else text, scores or raw_scores
    return Prediction(
        id=example.id,
        paragraph_id=example.paragraph_id,
        question=example.question,
        golds=example.answers,
        raw_text=raw_text,
        text=text,
        score=scores.score,
        exact_match=scores.exact_match,
        raw_score=raw_scores.score,
        raw_exact_match=raw_scores.exact_match,
        stop_reason=end,
    )


def summarize(predictions: Sequence[Prediction]) -> Scores:
    """Compute means, and degeneration metrics of decoded answers, over ``predictions`` (at least one)."""
    num = len(predictions)
    decoded = [one.text for one in predictions if one.stop_reason not in ("choice", "likelihood")]
    return Scores(
        n=num,
        score=sum(one.score for one in predictions) / num,
        exact_match=sum(one.exact_match for one in predictions) / num,
        raw_score=sum(one.raw_score for one in predictions) / num,
        raw_exact_match=sum(one.raw_exact_match for one in predictions) / num,
        length_stop_share=sum(one.stop_reason == "length" for one in predictions) / num,
        degeneration=degeneration_metrics(decoded) if decoded else None,
    )
