"""Passages to learn from without answers: a context in a prompt, with something of it to be written as the answer.

Contexts stand in the prompt where they stand when a question is asked, and the request in the place of the question, so
that what is learned from them serves there. No question and no answer of the data is used.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from thinwire.config.block_settings import FOR_PLACES, Request
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.data.question_slot import BLANK, QuestionSlot, differ_by_question, request_ids, slot_of
from thinwire.data.squad import Example
from thinwire.errors import UsageError
from thinwire.seeding import stream

_QUESTIONS: Mapping[Request, str] = {
    "autoencoding": "Repeat the text word for word.",
    "continuation": "Continue the text.",
    "recall": f"Which words of the text follow these? {BLANK}",
    "cloze": f"Which words of the text fill the blank? {BLANK}",
}
"""What stands in the place of the question; words of the text take the place of, or stand around, the blank."""

DRAWING = 2
"""The version of ``draw_passages``. It grows with every change of what that yields, so that an encoder that was trained
on other texts is not taken from the cache."""

_MIN_TOKENS = 16
"""Shorter contexts are no passages."""

_QUOTED = 4, 12
"""Least and most tokens that are quoted on one side of what is asked for."""

_RECALLED = 32
"""Most tokens to be written after a quotation."""

_MOST_BLANK = 6
"""Most tokens of a blank."""


@dataclass(frozen=True, kw_only=True)
class Passages:
    """Contexts in prompts with a question that stands for any, and the tokens of each request."""

    prompts: Sequence[Encoded]
    slot: QuestionSlot | None
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


def check_asks_without_question(modes: Sequence[Request]) -> None:
    """Refuse requests other than to continue for prompts in which nothing is asked.

    Raises:
        UsageError: there are others.
    """
    if tuple(modes) != ("continuation",):
        raise UsageError(
            "prompts without a question cannot ask for anything but the continuation of a text; set "
            "blocks.reconstruction.modes=[continuation]"
        )


def passage_prompts(examples: Iterable[Example], encoder: PromptEncoder) -> list[Encoded]:
    """Encode the different contexts of ``examples``, in their order; those of fewer than 16 tokens are left out.

    They stand in prompts without choices, of which one would be the answer, and too long ones are shortened whatever
    ``prompt.truncation`` is: where the request is cut off nothing is asked.

    Raises:
        UsageError: a prompt is too long even without its context.
    """
    distinct = {example.context: example for example in examples if example.context.strip()}
    asked = [replace(one, question="x" if one.question else "", choices=()) for one in distinct.values()]
    prompts = encoder.shortening_contexts().encode_prompts(asked)
    return [one for one in prompts if len(one.context) >= _MIN_TOKENS]


def with_requests(prompts: Sequence[Encoded], encoder: PromptEncoder, modes: Sequence[Request]) -> Passages:
    """Return the passages in ``prompts``, which ``encoder`` has encoded, with what can be asked of them.

    Raises:
        UsageError: prompts have no question and more is to be asked than to continue, or a request cannot take the
            question's place.
    """
    if not prompts:
        return Passages(prompts=(), slot=None, requests={}, end_id=encoder.end_id)
    if all(one.example.question for one in prompts):
        # What is kept of a context depends on the prompt's length and on the question; what stands around does not.
        whole, questions = encoder.keeping_contexts(), [_QUESTIONS[mode] for mode in modes]
        first = whole.encode_prompt(prompts[0].example)
        if differ_by_question(whole, first, questions[0]):
            slot = slot_of(whole, first, questions)
            requests = {mode: request_ids(whole, first, slot, _QUESTIONS[mode]) for mode in modes}
            passages = Passages(prompts=prompts, slot=slot, requests=requests, end_id=encoder.end_id)
            _check_requests(whole, passages, first)
            return passages
    check_asks_without_question(modes)
    return Passages(prompts=prompts, slot=None, requests={}, end_id=encoder.end_id)


def _check_requests(encoder: PromptEncoder, passages: Passages, passage: Encoded) -> None:
    """Refuse prompts in which a request in the question's place is not the prompt of that request, as where a template
    writes the question twice, and so may repeat the context beside its blocks."""
    context = passage.prompt_ids[passage.context.start : passage.context.stop]
    for mode, parts in passages.requests.items():
        made = passages.asking(passage, tuple(chain(*parts)), context, ())
        if made.prompt_ids != encoder.encode_prompt(replace(passage.example, question=_QUESTIONS[mode])).prompt_ids:
            raise UsageError(
                "requests of texts cannot take the question's place in these prompts; write the question once, apart "
                "from the context (prompt.template), or leave this training out: blocks.reconstruction.passages=0"
            )


def longest_text(passages: Passages, size: int, positions: int | None) -> int | None:
    """Return how many tokens of a text fit where a prompt with all of it in blocks, and all of it as the answer, may
    take at most ``positions``; None if there is no limit.

    Args:
        size: tokens in a block.

    Raises:
        UsageError: less fits than a passage has.
    """
    if positions is None:
        return None
    around = max(len(one.prompt_ids) - len(one.context) for one in passages.prompts)
    asked = max((len(tuple(chain(*parts))) for parts in passages.requests.values()), default=0)
    # Beside them are words that are quoted before and after a blank, an end token, and a last block that is not full.
    most = (positions - around - asked - 2 * _QUOTED[1] - 2) * size // (size + 1)
    if most < _MIN_TOKENS:
        raise UsageError(
            f"the model reads {positions} positions, too few for a prompt with a text of {_MIN_TOKENS} tokens and the "
            "text to be written after it; leave this training out: blocks.reconstruction.passages=0"
        )
    return most


def draw_passages(
    passages: Passages,
    modes: Sequence[Request],
    number: int,
    size: int,
    seed: int,
    longest: int | None = None,
    requests: int = 1,
) -> Iterator[Encoded]:
    """Yield what is asked of ``number`` passages: all contexts in random order, then all again in another order.

    A passage's context begins at one of its first ``size`` tokens, or 8, so that a text that is seen again is often cut
    into other blocks. Neither this nor the order depends on what is asked. Each time a passage is a paragraph of its
    own, whose requests can be kept together (``thinwire.data.order``).

    Args:
        size: tokens in a block.
        longest: most tokens of a text, of which the rest is left out; None if there is no limit.
        requests: how much is asked of each passage, one after the other: each one of ``modes``, of which those that ask
            for the whole text are drawn once at most.
    """
    draw, draw_requests = stream(seed, "passages"), stream(seed, "requests")
    order: list[int] = []
    for visit in range(number):
        if not order:
            order = list(range(len(passages.prompts)))
            draw.shuffle(order)
        passage = passages.prompts[order.pop()]
        passage = replace(passage, example=replace(passage.example, paragraph_id=str(visit)))
        context = passage.context[draw.randrange(min(size, _MIN_TOKENS // 2)) :][:longest]
        ids = tuple(passage.prompt_ids[context.start : context.stop])
        drawn = _drawn_modes(modes, requests, draw_requests)
        yield from (_ASKED[mode](passages, passage, ids, draw_requests) for mode in drawn)


def _drawn_modes(modes: Sequence[Request], number: int, draw: random.Random) -> list[Request]:
    left, drawn = list(modes), list[Request]()
    while left and len(drawn) < number:
        drawn.append(draw.choice(left))
        if drawn[-1] not in FOR_PLACES:
            left = [mode for mode in left if mode != drawn[-1]]
    return drawn


def repeated(
    passages: Passages, passage: Encoded, context: tuple[int, ...], draw: random.Random | None = None
) -> Encoded:
    """Ask for the whole ``context``; nothing is drawn."""
    shown = passages.requests["autoencoding"][0]
    return passages.asking(passage, shown, context, (*context, passages.end_id))


def to_be_measured(passages: Passages, passage: Encoded, longest: int | None = None) -> Encoded:
    """Ask for the whole context, or in prompts without a question, which cannot ask for it, for its second half.

    Args:
        longest: as in ``draw_passages``.
    """
    context = passage.prompt_ids[passage.context.start : passage.context.stop][:longest]
    if "autoencoding" in passages.requests:
        return repeated(passages, passage, context)
    shown = passages.requests["continuation"][0] if passages.requests else ()
    half = len(context) // 2
    return passages.asking(passage, shown, context[:half], (*context[half:], passages.end_id))


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
