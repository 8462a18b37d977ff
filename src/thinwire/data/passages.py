"""Passages to reconstruct: prompts with a paragraph, and as their answer the paragraph itself or its continuation.

Paragraphs stand in the prompt where they stand when a question is asked, so that what is learned from them serves
there. No answer of a question is used.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from thinwire.config.block_settings import TextReconstructionConfig
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.data.squad import Example
from thinwire.seeding import stream

Request = Literal["autoencoding", "continuation"]

_REQUESTS = {"autoencoding": "Repeat the text word for word.", "continuation": "Continue the text."}
"""What stands in the place of the question."""

_MIN_TOKENS = 8
"""Shorter contexts are no passages."""


def encode_contexts(examples: Iterable[Example], encoder: PromptEncoder, request: Request) -> list[Encoded]:
    """Encode the different contexts of ``examples``, in their order, with ``request`` in the place of the question.

    Contexts of fewer than 8 tokens are left out, and there is no answer yet.

    Raises:
        UsageError: a prompt is too long even without its context, or the prompt's template has no place for it.
    """
    distinct = {example.context: example for example in examples if example.context.strip()}
    asked = (replace(example, question=_REQUESTS[request] if example.question else "") for example in distinct.values())
    encoded = (encoder.encode_prompt(example) for example in asked)
    return [one for one in encoded if len(one.context) >= _MIN_TOKENS]


def repeated(passage: Encoded, end_id: int, *, skip: int = 0) -> Encoded:
    """Return the passage with its own context, without the first ``skip`` tokens, as its answer."""
    return _cut(passage, range(passage.context.start + skip, passage.context.stop), passage.context.stop, end_id)


def continued(passage: Encoded, end_id: int, *, skip: int, kept: int) -> Encoded:
    """Return the passage with ``kept`` tokens of its context after the first ``skip``; its answer is the rest."""
    start = passage.context.start + skip
    return _cut(passage, range(start, start + kept), start + kept, end_id, rest=True)


def _cut(passage: Encoded, shown: range, stop: int, end_id: int, *, rest: bool = False) -> Encoded:
    ids, context = passage.prompt_ids, passage.context
    wanted = ids[stop : context.stop] if rest else ids[shown.start : shown.stop]
    return replace(
        passage,
        prompt_ids=(*ids[: context.start], *ids[shown.start : shown.stop], *ids[context.stop :]),
        answer_ids=(*wanted, end_id),
        context=range(context.start, context.start + len(shown)),
    )


def draw_passages(
    contexts: Mapping[Request, Sequence[Encoded]], config: TextReconstructionConfig, size: int, end_id: int, seed: int
) -> Iterator[Encoded]:
    """Yield ``config.passages`` passages, in random order: all contexts, then all of them again in another order.

    Each begins at one of its first ``size`` tokens, so that a text that is seen again is cut into other blocks. One to
    be continued is shown up to a place between its first and its last quarter.

    Args:
        contexts: the encoded contexts by request, in the same order for each; those of ``config.mode`` are enough.
        size: tokens in a block.
    """
    assert config.passages != "auto", "config.auto puts the number in"
    draw = stream(seed, "passages")
    requests: tuple[Request, ...] = ("autoencoding", "continuation") if config.mode == "both" else (config.mode,)
    order: list[int] = []
    for _ in range(config.passages):
        if not order:
            order = list(range(len(contexts[requests[0]])))
            draw.shuffle(order)
        request, number = draw.choice(requests), order.pop()
        yield _drawn(contexts[request][number], request, draw, size, end_id)


def _drawn(passage: Encoded, request: Request, draw: random.Random, size: int, end_id: int) -> Encoded:
    skip = draw.randrange(min(size, len(passage.context) // 2))
    if request == "autoencoding":
        return repeated(passage, end_id, skip=skip)
    length = len(passage.context) - skip
    return continued(passage, end_id, skip=skip, kept=draw.randint(length // 4, 3 * length // 4))
