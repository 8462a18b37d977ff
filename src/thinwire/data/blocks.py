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

from thinwire.config.block_settings import BlockKind
from thinwire.data.prompts import Encoded

Members = NDArray[np.int64]
"""``[B, k]``: the token ids of each block; -1 where a context's last block has no more tokens."""

MISSING = -1


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The different blocks of some prompts."""

    kind: BlockKind
    members: Members
    contexts: NDArray[np.int64]
    """``[B]``: the number of each block's context, ascending, if that matters to their kind; else 0."""
    places: NDArray[np.int64]
    """``[B]``: the place of each in its context, from 0, if that matters; else 0."""
    num_scored: int
    """How many of them, the first ones, occur in prompts that are answered: these get a row of the embedding matrix."""


def no_blocks(kind: BlockKind) -> Blocks:
    """Return no blocks of this kind."""
    return BlockTable(kind, 0).blocks(num_scored=0)


def blocks_apart(members: Members) -> Blocks:
    """Return the blocks of these tokens, all of them scored, of a kind that does not read contexts."""
    number, size = members.shape
    zeros = np.zeros(number, dtype=np.int64)
    kind = BlockKind(size, reads_context=False)
    return Blocks(kind=kind, members=members, contexts=zeros, places=zeros, num_scored=number)


def describe_blocks(questions: Sequence[Encoded], blocks: Blocks) -> str:
    """Say in a sentence how many positions the prompts of ``questions`` (at least one) take, and of how many tokens."""
    tokens = fmean(question.num_tokens for question in questions)
    positions = fmean(len(question.prompt_ids) for question in questions)
    size = blocks.members.shape[1]
    return (
        f"blocks of {size} tokens: test prompts of {tokens:,.0f} tokens take {positions:,.0f} positions on average; "
        f"{len(blocks.members):,} different blocks in all"
    )


def counted_blocks(blocks: Blocks, questions: Iterable[Encoded], vocabulary: int) -> tuple[Members, NDArray[np.int64]]:
    """Return the different blocks of ``questions``, ``[N, k]`` in the order of their tokens, and how often each occurs
    in their prompts, ``[N]``. Neither depends on what else is in ``blocks``, of a kind that does not read contexts.

    Args:
        blocks: all that the prompts' ids stand for.
        vocabulary: number of token ids; those of blocks follow.
    """
    prompts = [np.asarray(question.prompt_ids, dtype=np.int64) for question in questions]
    ids = np.concatenate(prompts) if prompts else np.zeros(0, dtype=np.int64)
    numbers, counts = np.unique(ids[ids >= vocabulary] - vocabulary, return_counts=True)
    members = blocks.members[numbers]
    order = np.lexsort(members.T[::-1])
    return members[order], counts[order]


class BlockTable:
    """Numbers blocks of one kind behind a vocabulary of ``vocabulary`` ids."""

    def __init__(self, kind: BlockKind, vocabulary: int) -> None:
        self._kind, self._vocabulary = kind, vocabulary
        self._members: list[tuple[int, ...]] = []
        self._places: list[tuple[int, int]] = []
        """The number of each block's context and its place there."""
        self._numbers: dict[tuple[int, ...], int] = {}
        """The number of each block, of a kind that does not read contexts."""
        self._known: dict[tuple[int, ...], Sequence[int]] = {}
        """The numbers of each context's blocks."""

    def __len__(self) -> int:
        return len(self._members)

    def in_blocks(self, questions: Iterable[Encoded]) -> list[Encoded]:
        """Return the questions with their contexts in blocks; a context's last block may have fewer tokens."""
        return [self._in_blocks(question) for question in questions]

    def _in_blocks(self, question: Encoded) -> Encoded:
        ids, context = question.prompt_ids, question.context
        tokens = ids[context.start : context.stop]
        if tokens not in self._known:
            self._known[tokens] = self._numbered(tokens)
        blocks = [self._vocabulary + number for number in self._known[tokens]]
        return replace(
            question,
            prompt_ids=(*ids[: context.start], *blocks, *ids[context.stop :]),
            context=range(context.start, context.start + len(blocks)),
            positions_saved=len(context) - len(blocks),
        )

    def _numbered(self, context: tuple[int, ...]) -> Sequence[int]:
        """Return the numbers of the blocks of a context that is new; those that are new are added."""
        size = self._kind.size
        padded = (*context, *[MISSING] * (-len(context) % size))
        blocks = [padded[at : at + size] for at in range(0, len(padded), size)]
        if not self._kind.reads_context:
            return [self._number(block) for block in blocks]
        first = len(self)
        self._members += blocks
        self._places += [(len(self._known), place) for place in range(len(blocks))]
        return range(first, len(self))

    def _number(self, block: tuple[int, ...]) -> int:
        number = self._numbers.setdefault(block, len(self))
        if number == len(self):
            self._members.append(block)
            self._places.append((0, 0))
        return number

    def blocks(self, num_scored: int) -> Blocks:
        """Return all blocks so far, of which the first ``num_scored`` occur in prompts that are answered."""
        members = np.array(self._members, dtype=np.int64).reshape(-1, self._kind.size)
        contexts, places = np.array(self._places, dtype=np.int64).reshape(-1, 2).T
        return Blocks(kind=self._kind, members=members, contexts=contexts, places=places, num_scored=num_scored)


def in_blocks(
    scored: Sequence[Sequence[Encoded]], trained: Sequence[Encoded], kind: BlockKind, vocabulary: int
) -> tuple[list[list[Encoded]], list[Encoded], Blocks]:
    """Put the contexts of all questions into blocks.

    Args:
        scored: questions that are answered, as several splits; their blocks come first.
        trained: questions to train on.
        vocabulary: number of token ids; those of blocks follow.

    Returns:
        Both with their contexts in blocks, and the blocks.
    """
    table = BlockTable(kind, vocabulary)
    splits = [table.in_blocks(split) for split in scored]
    num_scored = len(table)
    train = table.in_blocks(trained)
    return splits, train, table.blocks(num_scored)
