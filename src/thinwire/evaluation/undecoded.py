"""Answers without decoding: the likeliest of given options, and the probability of a given text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.evaluation.answer_likelihood import log_likelihoods
from thinwire.evaluation.prediction import Prediction, TextScores, make_prediction
from thinwire.model.language_model import LanguageModel
from thinwire.tasks.task import Task

OnProgress = Callable[[int, int], None]
"""Callback with the number of questions that are done and the total."""


def choose_options(
    lm: LanguageModel,
    matrix: Tensor,
    encoder: PromptEncoder,
    questions: Sequence[Encoded],
    task: Task,
    on_progress: OnProgress,
) -> list[Prediction]:
    """Answer each question with the option of the highest log-probability, its end token included; the first of equals.

    That is the probability with which the model writes exactly this option, so longer options are not favoured or
    corrected for their length.

    Args:
        matrix: ``[V, D]``, the input embedding of each token id, in the model's dtype.
    """
    counts = [len(question.example.choices) for question in questions]
    asked = [encoder.with_option(option, question) for question in questions for option in question.example.choices]
    found = log_likelihoods(
        lm, matrix, asked, on_progress=lambda done: on_progress(done * len(counts) // len(asked), len(counts))
    )
    predictions, start = [], 0
    for question, count in zip(questions, counts, strict=True):
        values = found[start : start + count]
        start += count
        text = question.example.choices[values.index(max(values))]
        scores = TextScores(*task.score_text(text, question.example.answers))
        predictions.append(make_prediction(question.example, text, scores, "choice"))
    return predictions


def rate_texts(
    lm: LanguageModel,
    matrix: Tensor,
    questions: Sequence[Encoded],
    max_tokens: int,
    on_progress: OnProgress,
) -> list[Prediction]:
    """Score the text that follows each prompt with the geometric mean of its tokens' probabilities: 1 / perplexity.

    The text is the first gold answer up to ``max_tokens`` tokens, without an end token.

    Args:
        matrix: as in ``choose_options``.
    """
    texts = [replace(question, answer_ids=question.answer_ids[:-1][:max_tokens]) for question in questions]
    found = log_likelihoods(lm, matrix, texts, on_progress=lambda done: on_progress(done, len(texts)))
    return [
        make_prediction(
            text.example,
            "",
            TextScores(min(1.0, math.exp(value / len(text.answer_ids))), exact_match=0.0),
            "likelihood",
        )
        for text, value in zip(texts, found, strict=True)
    ]
