"""A task: how its questions are answered, how an answer is scored, and what is written of the scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

TaskName = Literal["extractive_qa", "short_answer", "generation", "multiple_choice", "classification", "perplexity"]

AnsweredBy = Literal["decoding", "choice", "likelihood"]
"""``decoding``: the answer is decoded greedily, and its text is scored. ``choice``: it is the option that the model
finds most likely. ``likelihood``: nothing is answered; the probability of the given text is the score."""

TextScore = Callable[[str, Sequence[str]], tuple[float, float]]
"""Returns for a text and the gold answers (at least one) the score and the exact match, the best over the gold answers,
each from 0 to 1."""


class Thresholds(NamedTuple):
    """The least gain over the baseline of each tier, in points (hundredths of the score's range)."""

    marginal: float
    significant: float
    strong: float


class Templates(NamedTuple):
    """The user's message of the prompt as Jinja templates, by what a question has."""

    both: str
    """Of a context and a question."""
    question: str
    """Of a question alone."""
    context: str
    """Of a context alone."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task. Scores are fractions, 0 to 1; the higher the better."""

    name: TaskName
    what: str
    """What is asked, in a phrase."""
    answered_by: AnsweredBy
    metric: str
    """Name of the score in files: ``f1``."""
    label: str
    """Name of the score in tables: ``F1``."""
    unit: str
    """What hundredths of the score are called: ``F1 points``."""
    score_text: TextScore
    """Scores a decoded or chosen text; not used by tasks that are answered by ``likelihood``."""
    shows_exact_match: bool
    """Whether the exact match of answers says more than the score does."""
    templates: Templates
    cue: str
    """What a prompt in the plain style ends with."""
    has_labels: bool = False
    """Whether the options of every question are the answers that the training questions have."""
    answers_are_spans: bool = False
    """Whether the gold answers stand in the context, which is checked when questions are read."""
    is_plain: bool = False
    """Whether ``prompt.style=auto`` is the plain style even where there is a chat template."""
    thresholds: Thresholds

    @property
    def has_texts(self) -> bool:
        """Whether answers are texts of the model's own, whose form can degenerate."""
        return self.answered_by == "decoding"
