"""Sequences laid end to end, with what several of them begin with computed once.

A causal model's state at a position depends on the tokens up to it and on nothing else, so sequences that begin alike
share the states of that beginning: it is laid down once, and what follows it in each sequence attends to it. There is
no padding, hence no mask. The beginnings form a prefix tree (a chat template's first words, then a paragraph, then its
questions); each node of the tree is one *segment* of the packed row.
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

from thinwire.gathering import Readers, Rows, ranges, readers_of, repeated_ends
from thinwire.transfer import sent

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
    readers: Readers
    """Who looks at each row, as entries of ``key_rows``."""
    longest_query: int
    longest_key: int
    """Keys of a segment at most: as far as a token looks back."""
    key_room: int
    """The same for kernels; where there is padding, that may have more keys."""

    @property
    def tensors(self) -> list[Tensor]:
        """All of them, in a fixed order."""
        return [self.query_ends, self.key_rows, self.key_ends, *self.readers.tensors]

    def repeated(self, times: int) -> Segments:
        """The same for ``times`` copies of the packed row, laid end to end."""
        if times == 1:
            return self
        num_rows, num_keys = len(self.readers.single), len(self.key_rows)
        copies = torch.arange(times, device=self.key_rows.device)[:, None]
        return Segments(
            query_ends=repeated_ends(self.query_ends, copies, num_rows),
            key_rows=(copies * num_rows + self.key_rows).flatten(),
            key_ends=repeated_ends(self.key_ends, copies, num_keys),
            readers=self.readers.repeated(copies, num_keys),
            longest_query=self.longest_query,
            longest_key=self.longest_key,
            key_room=self.key_room,
        )

    def to(self, device: torch.device) -> Segments:
        """The same on ``device``."""
        return Segments(
            query_ends=sent(self.query_ends, device),
            key_rows=sent(self.key_rows, device),
            key_ends=sent(self.key_ends, device),
            readers=self.readers.to(device),
            longest_query=self.longest_query,
            longest_key=self.longest_key,
            key_room=self.key_room,
        )


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Sequences in one row of ``T`` tokens."""

    ids: Rows
    """``[T]``: the token ids, shared beginnings once."""
    positions: Rows
    """``[T]``: each token's position in the sequences that it belongs to."""
    rows: list[Rows]
    """For each sequence, in the order given, the row of each of its tokens. Not to be written: they lie in
    ``segments.key_rows``."""
    segments: Segments


def pack(sequences: Sequence[Sequence[int]], *, share: bool = True) -> Packed:
    """Lay ``sequences`` (none of them empty) end to end; ``share=False`` keeps every one whole."""
    assert all(len(sequence) > 0 for sequence in sequences), "an empty sequence has no row"
    keys = [sort_key(sequence) for sequence in sequences]
    order = sorted(range(len(keys)), key=keys.__getitem__) if share else range(len(keys))
    tokens = np.frombuffer(b"".join([keys[i] for i in order]), dtype=_KEY_TYPE).astype(np.int64)
    lengths = np.array([len(sequences[i]) for i in order])
    tree = _Tree(lengths.tolist(), _common_lengths(tokens, lengths).tolist() if share else [0] * (len(keys) - 1))
    members, starts, ends = np.array(tree.members), np.array(tree.starts), np.array(tree.ends)
    own = ends - starts
    # Of a sequence's tokens, a segment's queries look at all up to the segment's end: it has as many keys.
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
        readers=readers_of(key_rows),
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
    """Token ids as bytes that are ordered as they are, and compared many times faster: big-endian, 4 bytes each."""
    key = array("I", ids)
    assert key.itemsize == _KEY_TYPE.itemsize, "C's unsigned int has 4 bytes wherever torch runs"
    if sys.byteorder == "little":
        key.byteswap()
    return key.tobytes()


def _common_lengths(tokens: Rows, lengths: Rows) -> Rows:
    """For each sequence but the last, the number of tokens that it and the next begin with alike. For equal ones it is
    so large that they share their segments however short those are."""
    width = int(lengths.max())
    padded = np.full((len(lengths), width), -1, dtype=np.int32)
    padded[np.arange(width) < lengths[:, None]] = tokens
    alike = padded[1:] == padded[:-1]
    return np.where(alike.all(axis=1), width + MIN_SHARED, alike.argmin(axis=1))


class _Tree:
    """The segments of a prefix tree, each after its ancestors."""

    def __init__(self, lengths: list[int], common: list[int]) -> None:
        """``lengths`` of sorted sequences, and of each two neighbours the number of tokens that they have in
        ``common``."""
        self._lengths, self._common = lengths, common
        self.members: list[int] = []
        """For each segment, a sequence that it is part of."""
        self.starts: list[int] = []
        self.ends: list[int] = []
        """Where the segment begins and ends in its sequences."""
        self.chains: list[list[int]] = []
        """For each segment, its ancestors from the root, then itself."""
        self.leaves = [0] * len(lengths)
        """For each sequence, its last segment."""
        self._grow(0, len(lengths), 0, [])

    def _grow(self, first: int, stop: int, depth: int, above: list[int]) -> None:
        """Add segments for sequences ``first`` to ``stop``, which share their first ``depth`` tokens, laid by the
        segments ``above``."""
        while first < stop and self._lengths[first] == depth:
            first += 1
        for index in range(first, stop):
            if index + 1 == stop or self._common[index] < depth + MIN_SHARED:
                self._add(first, index + 1, depth, above)
                first = index + 1

    def _add(self, first: int, stop: int, start: int, above: list[int]) -> None:
        number = len(self.members)
        # In sorted order, what all have in common is what each has in common with the next.
        end = min([self._lengths[first], *self._common[first : stop - 1]])
        own = [*above, number]
        self.members.append(first)
        self.starts.append(start)
        self.ends.append(end)
        self.chains.append(own)
        self.leaves[first:stop] = [number] * (stop - first)
        if stop - first > 1:
            self._grow(first, stop, end, own)
