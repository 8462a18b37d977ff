"""Passages to learn from without answers: a context in a prompt, with something of it to be written as the answer.

Contexts stand in the prompt where they stand when a question is asked, and the request in the place of the question, so
that what is learned from them serves there. No question and no answer of the data is used.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

from thinwire.config.block_settings import Request
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.data.squad import Example
from thinwire.errors import UsageError
from thinwire.seeding import stream

_BLANK = "____"

_QUESTIONS: Mapping[Request, str] = {
    "autoencoding": "Repeat the text word for word.",
    "continuation": "Continue the text.",
    "recall": f"Which words of the text follow these? {_BLANK}",
    "cloze": f"Which words of the text fill the blank? {_BLANK}",
}
"""What stands in the place of the question; words of the text take the place of, or stand around, the blank."""

_MIN_TOKENS = 16
"""Shorter contexts are no passages."""

_QUOTED = 4, 12
"""Least and most tokens that are quoted on one side of what is asked for."""

_RECALLED = 32
"""Most tokens to be written after a quotation."""

_MOST_BLANK = 6
"""Most tokens of a blank."""


class Slot(NamedTuple):
    """Where the tokens of the question are in prompts that differ in their context."""

    before: int | None
    """Tokens before them, if the question comes before the context; else None."""
    after: int
    """Tokens after them, if the question comes after the context."""
    length: int


@dataclass(frozen=True, kw_only=True)
class Passages:
    """Contexts in prompts with a question that stands for any, and the tokens of each request."""

    prompts: Sequence[Encoded]
    slot: Slot | None
    """None if prompts have no question."""
    requests: Mapping[Request, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
    """The ids of each request before its blank, of the blank, and after it; all before it where there is none."""
    end_id: int

    def asking(self, passage: Encoded, shown: Sequence[int], context: Sequence[int], answer: Sequence[int]) -> Encoded:
        """Return ``passage`` with the tokens ``shown`` for its question, others for its context, and an answer."""
        ids, at = passage.prompt_ids, passage.context
        parts = [ids[: at.start], tuple(context), ids[at.stop :]]
        start = at.start
        if self.slot is not None:
            side = 2 if self.slot.before is None else 0
            first = len(parts[2]) - self.slot.after - self.slot.length if self.slot.before is None else self.slot.before
            own = parts[side]
            parts[side] = (*own[:first], *shown, *own[first + self.slot.length :])
            start = len(parts[0])
        return replace(
            passage,
            prompt_ids=(*parts[0], *parts[1], *parts[2]),
            answer_ids=tuple(answer),
            context=range(start, start + len(context)),
        )


def encode_passages(examples: Iterable[Example], encoder: PromptEncoder, modes: Sequence[Request]) -> Passages:
    """Encode the different contexts of ``examples``, in their order; those of fewer than 16 tokens are left out.

    Raises:
        UsageError: a prompt is too long even without its context, or prompts have no question and more is to be asked
            than to continue.
    """
    distinct = {example.context: example for example in examples if example.context.strip()}
    has_question = all(example.question for example in distinct.values())
    if not has_question:
        check_asks_without_question(modes)
    asked = (replace(example, question="x" if has_question else "") for example in distinct.values())
    prompts = [one for one in map(encoder.encode_prompt, asked) if len(one.context) >= _MIN_TOKENS]
    slot = _slot(encoder, prompts[0]) if has_question and prompts else None
    requests = {mode: _request_ids(encoder, prompts[0], slot, _QUESTIONS[mode]) for mode in modes} if slot else {}
    return Passages(prompts=prompts, slot=slot, requests=requests, end_id=encoder.end_id)


def check_asks_without_question(modes: Sequence[Request]) -> None:
    """Refuse to ask for more than to continue where prompts have no question that a request could stand for.

    Raises:
        UsageError: something else is asked for.
    """
    if set(modes) != {"continuation"}:
        raise UsageError(
            "prompts without a question cannot ask for anything but the continuation of a text; set "
            "blocks.reconstruction.modes=[continuation]"
        )


def _slot(encoder: PromptEncoder, passage: Encoded) -> Slot:
    """Find the question's tokens in the prompt of ``passage``, by the prompt of another question."""
    own = passage.prompt_ids
    other = encoder.encode_prompt(replace(passage.example, question="y")).prompt_ids
    before, after = _num_alike(own, other), _num_alike(own[::-1], other[::-1])
    length = len(own) - before - after
    return Slot(None if before >= passage.context.stop else before, after, length)


def _num_alike(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _request_ids(
    encoder: PromptEncoder, passage: Encoded, slot: Slot, question: str
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    def ids_of(text: str) -> tuple[int, ...]:
        prompt = encoder.encode_prompt(replace(passage.example, question=text))
        before = slot.before
        if before is None:
            before = len(passage.prompt_ids) - slot.after - slot.length - passage.context.stop + prompt.context.stop
        return prompt.prompt_ids[before : len(prompt.prompt_ids) - slot.after]

    ids = ids_of(question)
    if _BLANK not in question:
        return ids, (), ()
    other = ids_of(question.replace(_BLANK, "x"))
    before, after = _num_alike(ids, other), _num_alike(ids[::-1], other[::-1])
    return ids[:before], ids[before : len(ids) - after], ids[len(ids) - after :]


def draw_passages(passages: Passages, modes: Sequence[Request], number: int, size: int, seed: int) -> Iterator[Encoded]:
    """Yield ``number`` passages in random order: all contexts, then all of them again in another order.

    Each is for one of the ``modes``, and its context begins at one of its first ``size`` tokens, so that a text that is
    seen again is cut into other blocks.

    Args:
        size: tokens in a block.
    """
    draw = stream(seed, "passages")
    order: list[int] = []
    for _ in range(number):
        if not order:
            order = list(range(len(passages.prompts)))
            draw.shuffle(order)
        passage, mode = passages.prompts[order.pop()], draw.choice(modes)
        context = passage.context[draw.randrange(min(size, _MIN_TOKENS // 2)) :]
        yield _ASKED[mode](passages, passage, tuple(passage.prompt_ids[context.start : context.stop]), draw)


def repeated(
    passages: Passages, passage: Encoded, context: tuple[int, ...], draw: random.Random | None = None
) -> Encoded:
    """Ask for the whole ``context``; nothing is drawn."""
    shown = passages.requests["autoencoding"][0]
    return passages.asking(passage, shown, context, (*context, passages.end_id))


def _continued(passages: Passages, passage: Encoded, context: tuple[int, ...], draw: random.Random) -> Encoded:
    """Show a part of the context, up to a place between its first and its last quarter, and ask for the rest."""
    shown = passages.requests["continuation"][0] if passages.requests else ()
    kept = draw.randint(len(context) // 4, 3 * len(context) // 4)
    return passages.asking(passage, shown, context[:kept], (*context[kept:], passages.end_id))


def _recalled(passages: Passages, passage: Encoded, context: tuple[int, ...], draw: random.Random) -> Encoded:
    """Quote some words of the context and ask for those that follow."""
    before, _, after = passages.requests["recall"]
    length = min(draw.randint(*_QUOTED), len(context) // 2)
    first = draw.randrange(len(context) - length)
    wanted = (*context, passages.end_id)[first + length :][:_RECALLED]
    return passages.asking(passage, (*before, *context[first : first + length], *after), context, wanted)


def _filled(passages: Passages, passage: Encoded, context: tuple[int, ...], draw: random.Random) -> Encoded:
    """Quote words of the context with a blank in them and ask for those that fill it."""
    before, blank, after = passages.requests["cloze"]
    length = draw.randint(1, min(_MOST_BLANK, len(context) // 2))
    first = draw.randrange(len(context) - length + 1)
    end = first + length
    left, right = draw.randint(*_QUOTED), draw.randint(*_QUOTED)
    quoted = (*context[max(0, first - left) : first], *blank, *context[end : end + right])
    wanted = (*context[first:end], passages.end_id)
    return passages.asking(passage, (*before, *quoted, *after), context, wanted)


_ASKED: Mapping[Request, Callable[[Passages, Encoded, tuple[int, ...], random.Random], Encoded]] = {
    "autoencoding": repeated,
    "continuation": _continued,
    "recall": _recalled,
    "cloze": _filled,
}
