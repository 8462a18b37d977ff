"""From questions to scored answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from torch import Tensor

from thinwire.collapse import collapse_figures
from thinwire.generate import StopRule, greedy_batches
from thinwire.model import LanguageModel
from thinwire.packing import sort_key
from thinwire.postprocess import first_line
from thinwire.prompts import Encoded, PromptEncoder
from thinwire.scoring import best_over_golds

Stop = Literal["end", "length"]
Scored = Literal["first_line", "raw"]

OnProgress = Callable[[int, int], None]
"""Called with the questions answered so far and the questions in all."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answered question. Scores are fractions, 0 to 1."""

    id: str
    paragraph_id: str
    question: str
    golds: tuple[str, ...]
    raw_text: str
    """All that the model said: before its end token or, where answers stop by length alone, behind it too."""
    text: str
    """What is scored: the first line of ``raw_text``, or all of it."""
    exact_match: float
    f1: float
    raw_exact_match: float
    raw_f1: float
    stop_reason: str

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def answer_questions(
    lm: LanguageModel,
    table: Tensor,
    encoder: PromptEncoder,
    questions: Sequence[Encoded],
    *,
    max_new_tokens: int,
    pass_tokens: int,
    stop: Stop = "end",
    score: Scored = "first_line",
    on_progress: OnProgress = lambda *_: None,
) -> list[Prediction]:
    """Answer and score ``questions``, the model reading ``table`` ``[V, D]``, rounded as an exported checkpoint would
    have it; results come in the order given."""
    table = lm.as_read(table)
    rule = _stop_rule(lm, encoder, stop, max_new_tokens)
    predictions: dict[int, Prediction] = {}
    groups = _groups(questions, max_new_tokens, pass_tokens)
    batches = ([questions[i].prompt_ids for i in group] for group in groups)
    for group, continuations in zip(groups, greedy_batches(lm, table, batches, rule), strict=True):
        for i, continuation in zip(group, continuations, strict=True):
            text = lm.tokenizer.decode(continuation.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            predictions[i] = score_answer(questions[i], text, continuation.stop_reason, score)
        on_progress(len(predictions), len(questions))
    return [predictions[i] for i in range(len(questions))]


def _stop_rule(lm: LanguageModel, encoder: PromptEncoder, stop: Stop, max_new_tokens: int) -> StopRule:
    if stop == "length":
        return StopRule(end_ids=frozenset(), newline_ids=frozenset(), max_new_tokens=max_new_tokens)
    return StopRule(
        end_ids=lm.stop_ids(encoder.end_id),
        newline_ids=_newline_ids(lm.tokenizer) if encoder.style == "plain" else frozenset(),
        max_new_tokens=max_new_tokens,
    )


def _groups(questions: Sequence[Encoded], max_new_tokens: int, pass_tokens: int) -> list[list[int]]:
    """Questions in groups of at most ``pass_tokens`` padded tokens: one paragraph's questions side by side, for they
    begin alike; paragraphs by length, longest first, for a group is padded to its longest."""
    lengths = [len(question.prompt_ids) + max_new_tokens for question in questions]
    longest: dict[str, int] = {}
    for question, length in zip(questions, lengths, strict=True):
        paragraph = question.example.paragraph_id
        longest[paragraph] = max(length, longest.get(paragraph, 0))
    places = [(-longest[question.example.paragraph_id], sort_key(question.prompt_ids)) for question in questions]
    groups: list[list[int]] = []
    width = 0
    for index in sorted(range(len(questions)), key=places.__getitem__):
        if groups and (len(groups[-1]) + 1) * max(width, lengths[index]) <= pass_tokens:
            groups[-1].append(index)
            width = max(width, lengths[index])
        else:
            groups.append([index])
            width = lengths[index]
    return groups


def score_answer(question: Encoded, raw_text: str, stop_reason: str, score: Scored = "first_line") -> Prediction:
    """Score one answer, as it came and as what ``score`` takes of it."""
    example, text = question.example, first_line(raw_text) if score == "first_line" else raw_text
    raw_exact_match, raw_f1 = best_over_golds(raw_text, example.answers)
    # Most answers of a trained arm are one line, and need no second look.
    exact_match, f1 = (raw_exact_match, raw_f1) if text == raw_text else best_over_golds(text, example.answers)
    return Prediction(
        id=example.id,
        paragraph_id=example.paragraph_id,
        question=example.question,
        golds=example.answers,
        raw_text=raw_text,
        text=text,
        exact_match=exact_match,
        f1=f1,
        raw_exact_match=raw_exact_match,
        raw_f1=raw_f1,
        stop_reason=stop_reason,
    )


def summarize(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Means over ``predictions`` (fractions, 0 to 1), their number, and the figures that betray collapse."""
    num = len(predictions)
    return {
        "n": num,
        "f1": sum(p.f1 for p in predictions) / num,
        "exact_match": sum(p.exact_match for p in predictions) / num,
        "raw_f1": sum(p.raw_f1 for p in predictions) / num,
        "raw_exact_match": sum(p.raw_exact_match for p in predictions) / num,
        "length_stop_share": sum(p.stop_reason == "length" for p in predictions) / num,
        "collapse": collapse_figures([p.text for p in predictions]),
    }


@lru_cache(maxsize=2)
def _newline_ids(tokenizer: Any) -> frozenset[int]:
    texts = tokenizer.batch_decode([[id_] for id_ in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    return frozenset(id_ for id_, text in enumerate(texts) if "\n" in text)
