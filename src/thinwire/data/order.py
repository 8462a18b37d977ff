"""The order of questions in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from thinwire.data.prompts import Encoded
from thinwire.seeding import stream


def epoch_order(questions: Sequence[Encoded], seed: int, epoch: int, *, grouped: bool = False) -> list[int]:
    """Return the order of an epoch's questions as indices: the same for every arm of a seed, so that arms are paired.

    ``grouped`` shuffles paragraphs instead, each with its questions in the given order.
    """
    if not grouped:
        order = list(range(len(questions)))
        stream(seed, "order", epoch).shuffle(order)
        return order
    paragraphs: dict[str, list[int]] = {}
    for index, question in enumerate(questions):
        paragraphs.setdefault(question.example.paragraph_id, []).append(index)
    groups = list(paragraphs.values())
    stream(seed, "order", epoch).shuffle(groups)
    return [index for group in groups for index in group]


def epoch_batches(
    questions: Sequence[Encoded], batch_size: int, seed: int, epoch: int, *, grouped: bool = False, first: int = 0
) -> Iterator[list[Encoded]]:
    """Yield the questions of each step of an epoch, from step ``first``, from 0; the last step may have fewer."""
    order = epoch_order(questions, seed, epoch, grouped=grouped)
    for start in range(first * batch_size, len(order), batch_size):
        yield [questions[i] for i in order[start : start + batch_size]]
