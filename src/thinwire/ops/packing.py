"""Pack sequences end to end into one row, with shared prefixes stored and computed once.

A causal model's state at a position depends only on the tokens up to it, so sequences with a common prefix share its
states: the prefix is stored once, and the rest of each sequence attends to it. There is no padding, hence no padding
mask. The prefixes form a tree (a chat template's first words, then a paragraph, then its questions); each node of the
tree is one *segment* of the packed row.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from thinwire.ops.device import sent
from thinwire.ops.gather import InverseIndex, Rows, inverse_index_of, ranges, repeated_ends

MIN_SHARED = 16
"""Shortest common prefix, in tokens, that gets a segment of its own."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """``S`` segments, and the keys of each: the rows of its ancestors, then its own, which its queries see causally."""

    query_ends: Tensor
    """``[S + 1]`` int32: where each segment's rows begin; the last entry is the number of rows."""
    key_rows: Tensor
    """``[K]`` int64: the rows that are each segment's keys, ancestors first; one segment after the other."""
    key_ends: Tensor
    """``[S + 1]`` int32: where each segment's part of ``key_rows`` begins."""
    inverse_index: InverseIndex
    """For each row, the entries of ``key_rows`` that name it."""
    longest_query: int
    """Most queries of a segment."""
    longest_key: int
    """Most keys of a segment, padding segments excluded: how far a token looks back."""
    key_room: int
    """Most keys of a segment, padding segments included, as attention kernels need it."""

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, in a fixed order."""
        return [self.query_ends, self.key_rows, self.key_ends, *self.inverse_index.tensors]

    def repeated(self, times: int) -> Segments:
        """Return the segments of ``times`` copies of the packed row, laid end to end."""
        if times == 1:
            return self
        num_rows, num_keys = len(self.inverse_index.single), len(self.key_rows)
        copies = torch.arange(times, device=self.key_rows.device)[:, None]
        return Segments(
            query_ends=repeated_ends(self.query_ends, copies, num_rows),
            key_rows=(copies * num_rows + self.key_rows).flatten(),
            key_ends=repeated_ends(self.key_ends, copies, num_keys),
            inverse_index=self.inverse_index.repeated(copies, num_keys),
            longest_query=self.longest_query,
            longest_key=self.longest_key,
            key_room=self.key_room,
        )

    def to(self, device: torch.device) -> Segments:
        """Copy the segments to ``device``."""
        return Segments(
            query_ends=sent(self.query_ends, device),
            key_rows=sent(self.key_rows, device),
            key_ends=sent(self.key_ends, device),
            inverse_index=self.inverse_index.to(device),
            longest_query=self.longest_query,
            longest_key=self.longest_key,
            key_room=self.key_room,
        )


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Sequences packed into one row of ``T`` tokens."""

    ids: Rows
    """``[T]``: the token ids; shared prefixes occur once."""
    positions: Rows
    """``[T]``: each token's position in the sequences that it belongs to."""
    rows: list[Rows]
    """For each sequence, in the order given, the row of each of its tokens. Read-only: views of
    ``segments.key_rows``."""
    segments: Segments


def pack(sequences: Sequence[Sequence[int]], *, share: bool = True) -> Packed:
    """Pack ``sequences``, none of them empty; with ``share=False`` no prefix is shared."""
    assert all(len(sequence) > 0 for sequence in sequences), "an empty sequence has no row"
    keys = [sort_key(sequence) for sequence in sequences]
    order = sorted(range(len(keys)), key=keys.__getitem__) if share else range(len(keys))
    tokens = np.frombuffer(b"".join([keys[i] for i in order]), dtype=_KEY_TYPE).astype(np.int64)
    lengths = np.array([len(sequences[i]) for i in order])
    tree = _Tree(lengths.tolist(), _common_lengths(tokens, lengths).tolist() if share else [0] * (len(keys) - 1))
    members, starts, ends = np.array(tree.members), np.array(tree.starts), np.array(tree.ends)
    own = ends - starts
    # A segment's keys are all tokens of its sequence up to the segment's end.
    row_ends, key_ends, token_ends = np.cumsum(own), np.cumsum(ends), np.cumsum(lengths)
    first_rows, first_keys, first_tokens = row_ends - own, key_ends - ends, token_ends - lengths
    nodes = np.fromiter(chain.from_iterable(tree.chains), dtype=np.int64)
    key_rows = ranges(first_rows[nodes], own[nodes])
    rows: list[Rows] = [key_rows] * len(keys)
    for index, leaf in zip(order, tree.leaves, strict=True):
        rows[index] = key_rows[first_keys[leaf] : key_ends[leaf]]
    segments = Segments(
        query_ends=torch.from_numpy(np.concatenate([[0], row_ends]).astype(np.int32)),
        key_rows=torch.from_numpy(key_rows),
        key_ends=torch.from_numpy(np.concatenate([[0], key_ends]).astype(np.int32)),
        inverse_index=inverse_index_of(key_rows),
        longest_query=int(own.max()),
        longest_key=int(ends.max()),
        key_room=int(ends.max()),
    )
    return Packed(
        ids=tokens[ranges(first_tokens[members] + starts, own)],
        positions=ranges(starts, own),
        rows=rows,
        segments=segments,
    )


_KEY_TYPE = np.dtype(">u4")


def sort_key(ids: Sequence[int]) -> bytes:
    """Encode token ids as big-endian bytes, 4 each: they sort like the ids and compare many times faster."""
    key = array("I", ids)
    assert key.itemsize == _KEY_TYPE.itemsize, "C's unsigned int has 4 bytes wherever torch runs"
    if sys.byteorder == "little":
        key.byteswap()
    return key.tobytes()


def _common_lengths(tokens: Rows, lengths: Rows) -> Rows:
    """Return the length of the common prefix of each sequence and the next.

    Args:
        tokens: all sequences, sorted, end to end.
        lengths: ``[n]``, their lengths.

    Returns:
        ``[n - 1]``; for equal sequences a number so large that they share segments of any length.
    """
    width = int(lengths.max())
    padded = np.full((len(lengths), width), -1, dtype=np.int32)
    padded[np.arange(width) < lengths[:, None]] = tokens
    alike = padded[1:] == padded[:-1]
    return np.where(alike.all(axis=1), width + MIN_SHARED, alike.argmin(axis=1))


class _Tree:
    """Builds the segments of a prefix tree, each after its ancestors."""

    def __init__(self, lengths: list[int], common: list[int]) -> None:
        """Build the tree of sorted sequences of these ``lengths``; ``common`` are the lengths of the common prefixes of
        neighbours."""
        self._lengths, self._common = lengths, common
        self.members: list[int] = []
        """For each segment, one of its sequences."""
        self.starts: list[int] = []
        """Where each segment begins in its sequences."""
        self.ends: list[int] = []
        """Where each segment ends in its sequences."""
        self.chains: list[list[int]] = []
        """For each segment, its ancestors from the root, then itself."""
        self.leaves = [0] * len(lengths)
        """For each sequence, its last segment."""
        self._grow(0, len(lengths), 0, [])

    def _grow(self, first: int, stop: int, depth: int, above: list[int]) -> None:
        """Add the segments of sequences ``first`` to ``stop``, below the segments ``above``, which hold their common
        first ``depth`` tokens."""
        while first < stop and self._lengths[first] == depth:
            first += 1
        for index in range(first, stop):
            if index + 1 == stop or self._common[index] < depth + MIN_SHARED:
                self._add(first, index + 1, depth, above)
                first = index + 1

    def _add(self, first: int, stop: int, start: int, above: list[int]) -> None:
        """Add the segment that sequences ``first`` to ``stop`` share from token ``start`` on, and all below it."""
        number = len(self.members)
        # In sorted order, the common prefix of all is the shortest common prefix of neighbours.
        end = min([self._lengths[first], *self._common[first : stop - 1]])
        own = [*above, number]
        self.members.append(first)
        self.starts.append(start)
        self.ends.append(end)
        self.chains.append(own)
        self.leaves[first:stop] = [number] * (stop - first)
        if stop - first > 1:
            self._grow(first, stop, end, own)
