"""Put several consecutive tokens of a context into one position: blocks are ids behind the vocabulary.

A block is a token of its own from here on: prompts are packed, shared beginnings are computed once, and embeddings are
gathered as for any token. ``thinwire.adapter.block_embeddings`` makes the embedding of such an id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from thinwire.data.prompts import Encoded

Members = NDArray[np.int64]
"""``[B, k]``: the token ids of each block; -1 where a context's last block has no more tokens."""

MISSING = -1


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The different blocks of some prompts."""

    members: Members
    num_scored: int
    """How many of them, the first ones, occur in prompts that are answered: these get a row of the embedding matrix."""


def no_blocks(size: int) -> Blocks:
    """Return no blocks of ``size`` tokens."""
    return Blocks(members=np.zeros((0, size), dtype=np.int64), num_scored=0)


def describe_blocks(questions: Sequence[Encoded], blocks: Blocks) -> str:
    """Say in a sentence how many positions the prompts of ``questions`` (at least one) take, and of how many tokens."""
    tokens = fmean(question.num_tokens for question in questions)
    positions = fmean(len(question.prompt_ids) for question in questions)
    size = blocks.members.shape[1]
    return (
        f"blocks of {size} tokens: test prompts of {tokens:,.0f} tokens take {positions:,.0f} positions on average; "
        f"{len(blocks.members):,} different blocks in all"
    )


class BlockTable:
    """Numbers blocks of ``size`` tokens behind a vocabulary of ``vocabulary`` ids."""

    def __init__(self, size: int, vocabulary: int) -> None:
        self._size, self._vocabulary = size, vocabulary
        self._numbers: dict[tuple[int, ...], int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def in_blocks(self, questions: Iterable[Encoded]) -> list[Encoded]:
        """Return the questions with their contexts in blocks; a context's last block may have fewer tokens."""
        return [self._in_blocks(question) for question in questions]

    def _in_blocks(self, question: Encoded) -> Encoded:
        ids, context = question.prompt_ids, question.context
        blocks = [self._id(ids[at : min(at + self._size, context.stop)]) for at in context[:: self._size]]
        return replace(
            question,
            prompt_ids=(*ids[: context.start], *blocks, *ids[context.stop :]),
            context=range(context.start, context.start + len(blocks)),
            positions_saved=len(context) - len(blocks),
        )

    def _id(self, members: tuple[int, ...]) -> int:
        return self._vocabulary + self._numbers.setdefault(members, len(self._numbers))

    def members(self) -> Members:
        """Return the tokens of all blocks so far."""
        found = np.full((len(self._numbers), self._size), MISSING, dtype=np.int64)
        for members, number in self._numbers.items():
            found[number, : len(members)] = members
        return found


def in_blocks(
    scored: Sequence[Sequence[Encoded]], trained: Sequence[Encoded], size: int, vocabulary: int
) -> tuple[list[list[Encoded]], list[Encoded], Blocks]:
    """Put the contexts of all questions into blocks of ``size`` tokens.

    Args:
        scored: questions that are answered, as several splits; their blocks come first.
        trained: questions to train on.
        vocabulary: number of token ids; those of blocks follow.

    Returns:
        Both with their contexts in blocks, and the blocks.
    """
    table = BlockTable(size, vocabulary)
    splits = [table.in_blocks(split) for split in scored]
    num_scored = len(table)
    train = table.in_blocks(trained)
    return splits, train, Blocks(members=table.members(), num_scored=num_scored)
