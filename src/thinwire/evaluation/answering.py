"""Answer and score questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

from torch import Tensor

from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.errors import foreign
from thinwire.evaluation.extractors import first_line
from thinwire.evaluation.generation import StopRule, greedy_batches
from thinwire.evaluation.prediction import AnswerEnd, Prediction, TextScores, make_prediction
from thinwire.evaluation.undecoded import OnProgress, choose_options, rate_texts
from thinwire.model.language_model import LanguageModel
from thinwire.ops.packing import sort_key
from thinwire.tasks.extractive_qa import TASK as EXTRACTIVE_QA
from thinwire.tasks.task import Task

Stop = Literal["end", "length"]
Scored = Literal["first_line", "raw"]


def answer_questions(
    lm: LanguageModel,
    matrix: Tensor,
    encoder: PromptEncoder,
    questions: Sequence[Encoded],
    *,
    task: Task = EXTRACTIVE_QA,
    max_new_tokens: int,
    batch_tokens: int,
    stop: Stop = "end",
    score: Scored = "first_line",
    on_progress: OnProgress = lambda *_: None,
) -> list[Prediction]:
    """Answer ``questions`` with ``matrix`` ``[V, D]`` as input embeddings, and score them; results in the given order.

    The matrix is rounded as in an exported checkpoint.

    Args:
        task: says how questions are answered and scored; what is below is for decoding, but for ``max_new_tokens``,
            which is also the most tokens of a text whose probability is the score.
        batch_tokens: maximum tokens per batch, counting padding and new tokens.
    """
    exported = lm.as_exported(matrix)
    if task.answered_by == "choice":
        return choose_options(lm, exported, encoder, questions, task, on_progress)
    if task.answered_by == "likelihood":
        return rate_texts(lm, exported, questions, max_new_tokens, on_progress)
    rule = stop_rule(lm, encoder, stop, max_new_tokens)
    predictions: dict[int, Prediction] = {}
    for answers in answer_texts(lm, exported, questions, rule, batch_tokens=batch_tokens):
        predictions |= {i: score_answer(questions[i], text, reason, task, score) for i, text, reason in answers}
        on_progress(len(predictions), len(questions))
    return [predictions[i] for i in range(len(questions))]


def answer_texts(
    lm: LanguageModel, matrix: Tensor, questions: Sequence[Encoded], rule: StopRule, *, batch_tokens: int
) -> Iterator[list[tuple[int, str, AnswerEnd]]]:
    """Continue the prompts of ``questions``, which need no gold answers.

    Args:
        matrix: ``[V, D]``, the input embedding of each token id, in the model's dtype.
        batch_tokens: as in ``answer_questions``.

    Yields:
        For each batch, the indices of its questions, their decoded answers, and the reasons why these ended.
    """
    batches = decoding_batches(questions, rule.max_new_tokens, batch_tokens)
    prompts = ([questions[i].prompt_ids for i in batch] for batch in batches)
    for batch, continuations in zip(batches, greedy_batches(lm, matrix, prompts, rule), strict=True):
        with foreign(f"the tokenizer of {lm.name} cannot decode an answer"):
            texts = [
                str(lm.tokenizer.decode(found.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
                for found in continuations
            ]
        yield [(i, text, found.stop_reason) for i, text, found in zip(batch, texts, continuations, strict=True)]


def stop_rule(lm: LanguageModel, encoder: PromptEncoder, stop: Stop, max_new_tokens: int) -> StopRule:
    """Return when answers to the encoder's prompts end."""
    if stop == "length":
        return StopRule(end_ids=frozenset(), newline_ids=frozenset(), max_new_tokens=max_new_tokens)
    return StopRule(
        end_ids=lm.stop_ids(encoder.end_id),
        newline_ids=_newline_ids(lm.tokenizer) if encoder.style == "plain" else frozenset(),
        max_new_tokens=max_new_tokens,
    )


def decoding_batches(questions: Sequence[Encoded], max_new_tokens: int, batch_tokens: int) -> list[list[int]]:
    """Group questions into batches of at most ``batch_tokens`` tokens, padding and ``max_new_tokens`` counted.

    Questions of one paragraph are neighbours, because their prompts have a common prefix. Paragraphs are sorted by
    length, longest first, because a batch is padded to its longest prompt.

    Returns:
        Batches of indices into ``questions``.
    """
    lengths = [len(question.prompt_ids) + max_new_tokens for question in questions]
    longest: dict[str, int] = {}
    for question, length in zip(questions, lengths, strict=True):
        paragraph = question.example.paragraph_id
        longest[paragraph] = max(length, longest.get(paragraph, 0))
    sort_keys = [(-longest[question.example.paragraph_id], sort_key(question.prompt_ids)) for question in questions]
    batches: list[list[int]] = []
    width = 0
    for index in sorted(range(len(questions)), key=sort_keys.__getitem__):
        if batches and (len(batches[-1]) + 1) * max(width, lengths[index]) <= batch_tokens:
            batches[-1].append(index)
            width = max(width, lengths[index])
        else:
            batches.append([index])
            width = lengths[index]
    return batches


def score_answer(
    question: Encoded, raw_text: str, stop_reason: AnswerEnd, task: Task, scored: Scored = "first_line"
) -> Prediction:
    """Score a decoded answer, both raw and as ``scored`` selects its text."""
    example, text = question.example, first_line(raw_text) if scored == "first_line" else raw_text
    raw_scores = TextScores(*task.score_text(raw_text, example.answers))
    # Most answers of a trained arm are one line, which is scored once.
    scores = raw_scores if text == raw_text else TextScores(*task.score_text(text, example.answers))
    return make_prediction(example, raw_text, raw_scores, stop_reason, text=text, scores=scores)


@lru_cache(maxsize=2)
def _newline_ids(tokenizer: Any) -> frozenset[int]:
    texts = tokenizer.batch_decode([[id_] for id_ in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    return frozenset(id_ for id_, text in enumerate(texts) if "\n" in text)
