"""Passes in a few sizes, for what is done again only with tensors of the same shapes (see ``replay``).

A packed pass has as many tokens as its questions happen to have. Here its sizes are rounded up, by tokens that occur
nowhere, answers that no arm supervises, and rows that attend to one another and to nothing else. No loss and no
gradient changes by it, but for rounding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from thinwire.batching import Pass
from thinwire.packing import Segments, readers_of

_NOBODYS = 2**31
"""The place of a padding answer in its answer: no arm supervises so many."""

Sizes = tuple[int, ...]


def sizes(one: Pass) -> Sizes:
    """What two passes have in common that one graph can compute."""
    lengths = [len(tensor) for tensor in one.tensors]
    return (*lengths, one.segments.longest_query, one.segments.longest_key)


def padded(one: Pass) -> Pass:
    """The same pass with its sizes rounded up, on the CPU."""
    segments = _padded_segments(one.segments)
    num_rows = len(segments.reader_ends) - 1
    num_tokens, num_answers = _rounded(len(one.tokens), 4), _rounded(len(one.answer_rows), 2)
    return Pass(
        tokens=_extended(one.tokens, num_tokens, int(one.tokens[0])),
        indices=_extended(one.indices, num_rows, 0),
        positions=_extended(one.positions, num_rows, 0),
        segments=segments,
        prompt_counts=_extended(one.prompt_counts, num_tokens, 0),
        answer_rows=_extended(one.answer_rows, num_answers, 0),
        answer_ids=_extended(one.answer_ids, num_answers, 0),
        answer_places=_extended(one.answer_places, num_answers, _NOBODYS),
    )


def _padded_segments(segments: Segments) -> Segments:
    """More rows, in segments of their own behind the others, and more keys, which are more of what those attend to."""
    key_rows, num_rows = segments.key_rows.numpy(), len(segments.reader_ends) - 1
    num_inherited = len(key_rows) - num_rows  # keys beside each row's own
    longest_query = _rounded(segments.longest_query, 2)
    most_inherited = max(64, _rounded(segments.longest_key - segments.longest_query, 2)) if num_inherited else 0
    more_keys = _rounded(num_inherited, 2) - num_inherited
    holders = -(-more_keys // most_inherited) if more_keys else 0
    more_rows = _rounded(num_rows + max(1, holders), 8) - num_rows
    parts = max(holders, -(-more_rows // longest_query))
    own, inherited = _shared_out(more_rows, parts), _shared_out(more_keys, parts)
    starts = num_rows + np.cumsum(own) - own
    added = [
        np.concatenate([np.full(extra, num_rows), np.arange(start, start + rows)])
        for start, rows, extra in zip(starts, own, inherited, strict=True)
    ]
    key_rows = np.concatenate([key_rows, *added])
    readers, reader_ends = readers_of(key_rows)
    num_ends = 1 + _rounded(len(segments.query_ends) - 1 + parts, 4)
    return replace(
        segments,
        query_ends=_continued(segments.query_ends, own, num_ends),
        key_rows=torch.from_numpy(key_rows),
        key_ends=_continued(segments.key_ends, own + inherited, num_ends),
        readers=torch.from_numpy(readers),
        reader_ends=torch.from_numpy(reader_ends),
        longest_query=longest_query,
        longest_key=longest_query + most_inherited,
    )


def _rounded(number: int, parts: int) -> int:
    """``number`` rounded up to a multiple of an eighth, say (``parts`` 8), of the power of two at or below it."""
    if number == 0:
        return 0
    step = max(8, (1 << (number.bit_length() - 1)) // parts)
    return -(-number // step) * step


def _shared_out(number: int, parts: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """``number`` cut into ``parts`` whole numbers, as equal as can be."""
    return np.diff(np.arange(parts + 1) * number // parts)


def _extended(tensor: Tensor, length: int, value: int) -> Tensor:
    """``tensor`` with ``value`` repeated behind it."""
    return torch.cat([tensor, tensor.new_full((length - len(tensor),), value)])


def _continued(ends: Tensor, lengths: np.ndarray[tuple[int], np.dtype[np.int64]], num_ends: int) -> Tensor:
    """The ends of more parts, of these ``lengths``, then of empty ones."""
    more = ends[-1] + torch.from_numpy(lengths).cumsum(0).to(ends.dtype)
    return _extended(torch.cat([ends, more]), num_ends, int(more[-1]))
