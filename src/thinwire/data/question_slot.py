"""Find the question's tokens in prompts, so that others can take their place without encoding a prompt anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import NamedTuple

from thinwire.data.prompts import Encoded, PromptEncoder

BLANK = "____"
"""In a question, the place of words that are quoted or left out."""


class QuestionSlot(NamedTuple):
    """Where the tokens of the question are in prompts that differ in their context."""

    before: int | None
    """Tokens before them, if the question comes before the context; else None."""
    after: int
    """Tokens after them, if the question comes after the context."""
    length: int


def differ_by_question(encoder: PromptEncoder, passage: Encoded, question: str) -> bool:
    """Return whether another ``question`` changes the prompt; a template may leave it out."""
    return encoder.encode_prompt(replace(passage.example, question=question)).prompt_ids != passage.prompt_ids


def slot_of(encoder: PromptEncoder, passage: Encoded, questions: Sequence[str]) -> QuestionSlot:
    """Find the question's tokens in the prompt of ``passage``, by the prompts of other ``questions``. A token that
    holds characters of a question and what stands beside it is one of the question's."""
    own = passage.prompt_ids
    others = [encoder.encode_prompt(replace(passage.example, question=one)).prompt_ids for one in ("y", *questions)]
    before = min(_num_alike(own, other) for other in others)
    # What is alike from both ends, as unknown words are, counts once.
    after = min(len(own) - before, *(_num_alike(own[::-1], other[::-1]) for other in others))
    length = len(own) - before - after
    return QuestionSlot(None if before >= passage.context.stop else before, after, length)


def request_ids(
    encoder: PromptEncoder, passage: Encoded, slot: QuestionSlot, question: str
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the ids of ``question`` before its ``BLANK``, of the blank, and after it; all before it if there is none.

    Args:
        passage: a prompt that ``slot`` was found in.
    """

    def ids_of(text: str) -> tuple[int, ...]:
        prompt = encoder.encode_prompt(replace(passage.example, question=text))
        before = slot.before
        if before is None:
            before = len(passage.prompt_ids) - slot.after - slot.length - passage.context.stop + prompt.context.stop
        return prompt.prompt_ids[before : len(prompt.prompt_ids) - slot.after]

    ids = ids_of(question)
    if BLANK not in question:
        return ids, (), ()
    other = ids_of(question.replace(BLANK, "x"))
    before = _num_alike(ids, other)
    after = min(len(ids) - before, _num_alike(ids[::-1], other[::-1]))
    return ids[:before], ids[before : len(ids) - after], ids[len(ids) - after :]


def _num_alike(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
