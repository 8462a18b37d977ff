"""Sequences laid end to end, with what several of them begin with computed once.

A causal model's state at a position depends on the tokens up to it and on nothing else, so sequences that begin alike
share the states of that beginning: it is laid down once, and what follows it in each sequence attends to it. There is
no padding, hence no mask. The beginnings form a prefix tree (a chat template's first words, then a paragraph, then its
questions); each node of the tree is one *segment* of the packed row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Rows = NDArray[np.int64]

MIN_SHARED = 16
"""Shortest common beginning worth a segment of its own."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Which packed rows each segment's queries may look at: those of its ancestors, then its own, causally."""

    query_ends: Tensor
    """``[S + 1]`` int32: where each segment's rows begin; the last entry is the number of rows."""
    key_rows: Tensor
    """``[K]`` int64: for one segment after the other, the rows of its ancestors and its own."""
    key_ends: Tensor
    """``[S + 1]`` int32: where each segment's part of ``key_rows`` begins."""
    own_keys: Tensor
    """``[T]`` int64: for each packed row, the entry of ``key_rows`` that is its own segment's."""
    ancestor_keys: Tensor
    """``[K - T]`` int64: the other entries of ``key_rows``, by which later segments look at a row."""
    longest_query: int
    longest_key: int

    def repeated(self, times: int) -> Segments:
        """The same for ``times`` copies of the packed row, laid end to end."""
        if times == 1:
            return self
        num_rows, num_keys = len(self.own_keys), len(self.key_rows)
        copies = torch.arange(times, device=self.key_rows.device)[:, None]

        def ends(one: Tensor, total: int) -> Tensor:
            return torch.cat([(copies.to(one.dtype) * total + one[:-1]).flatten(), one[-1:] * times])

        return Segments(
            query_ends=ends(self.query_ends, num_rows),
            key_rows=(copies * num_rows + self.key_rows).flatten(),
            key_ends=ends(self.key_ends, num_keys),
            own_keys=(copies * num_keys + self.own_keys).flatten(),
            ancestor_keys=(copies * num_keys + self.ancestor_keys).flatten(),
            longest_query=self.longest_query,
            longest_key=self.longest_key,
        )

    def to(self, device: torch.device) -> Segments:
        """The same on ``device``."""
        return Segments(
            query_ends=self.query_ends.to(device, non_blocking=True),
            key_rows=self.key_rows.to(device, non_blocking=True),
            key_ends=self.key_ends.to(device, non_blocking=True),
            own_keys=self.own_keys.to(device, non_blocking=True),
            ancestor_keys=self.ancestor_keys.to(device, non_blocking=True),
            longest_query=self.longest_query,
            longest_key=self.longest_key,
        )


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Sequences in one row of ``T`` tokens."""

    ids: Rows
    """``[T]``: the token ids, shared beginnings once."""
    positions: Rows
    """``[T]``: each token's position in the sequences that it belongs to."""
    rows: list[Rows]
    """For each sequence, in the order given, the row of each of its tokens."""
    segments: Segments


def pack(sequences: Sequence[Sequence[int]], *, share: bool = True) -> Packed:
    """Lay ``sequences`` (none of them empty) end to end; ``share=False`` keeps every one whole."""
    assert all(len(sequence) > 0 for sequence in sequences), "an empty sequence has no row"
    tree = _Tree(sequences)
    if share:
        tree.grow(sorted(range(len(sequences)), key=lambda i: tuple(sequences[i])), 0, [])
    else:
        for index, sequence in enumerate(sequences):
            tree.add([index], 0, len(sequence), [])
    chains, lengths = tree.chains, [len(own) for own in tree.segments]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    own_rows = [np.arange(start, end) for start, end in pairwise(ends)]
    keys = [np.concatenate([own_rows[i] for i in (*chain, number)]) for number, chain in enumerate(chains)]
    key_ends = np.concatenate([[0], np.cumsum([len(rows) for rows in keys])])
    is_own = np.concatenate([np.arange(len(rows)) >= len(rows) - n for rows, n in zip(keys, lengths, strict=True)])
    starts = [sum(lengths[i] for i in chain) for chain in chains]
    segments = Segments(
        query_ends=torch.from_numpy(ends.astype(np.int32)),
        key_rows=torch.from_numpy(np.concatenate(keys)),
        key_ends=torch.from_numpy(key_ends.astype(np.int32)),
        own_keys=torch.from_numpy(is_own.nonzero()[0]),
        ancestor_keys=torch.from_numpy((~is_own).nonzero()[0]),
        longest_query=max(lengths),
        longest_key=max(len(rows) for rows in keys),
    )
    return Packed(
        ids=np.concatenate([np.asarray(own, dtype=np.int64) for own in tree.segments]),
        positions=np.concatenate([np.arange(s, s + n) for s, n in zip(starts, lengths, strict=True)]),
        rows=[np.concatenate([own_rows[i] for i in path]) for path in tree.paths],
        segments=segments,
    )


class _Tree:
    """The segments of a prefix tree, each after its ancestors."""

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self._sequences = sequences
        self.segments: list[Sequence[int]] = []
        self.chains: list[list[int]] = []
        """For each segment, its ancestors from the root."""
        self.paths: list[list[int]] = [[] for _ in sequences]
        """For each sequence, its segments from the root."""

    def grow(self, members: list[int], depth: int, chain: list[int]) -> None:
        """Add segments for ``members``: sorted sequences that share their first ``depth`` tokens, laid by ``chain``."""
        remaining = [index for index in members if len(self._sequences[index]) > depth]
        for _, run in groupby(remaining, key=lambda i: tuple(self._sequences[i][depth : depth + MIN_SHARED])):
            group = list(run)
            # In sorted order the first and the last differ earliest.
            end = _common_length(self._sequences[group[0]], self._sequences[group[-1]])
            inner = self.add(group, depth, end, chain)
            if len(group) > 1:
                self.grow(group, end, inner)

    def add(self, members: list[int], start: int, end: int, chain: list[int]) -> list[int]:
        """Add the segment of tokens ``start`` to ``end`` of ``members``; returns the chain down to it."""
        number = len(self.segments)
        self.segments.append(self._sequences[members[0]][start:end])
        self.chains.append(chain)
        for index in members:
            self.paths[index].append(number)
        return [*chain, number]


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    for number, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return number
    return min(len(one), len(other))
