"""Passes in a few sizes, for what is done again only with tensors of the same shapes (see ``replay``).

A packed pass has as many tokens as its questions happen to have. Here it is filled up to one of a few sizes, by tokens
that occur nowhere, answers that no arm supervises, and rows that attend to one another and to nothing else. No loss and
no gradient changes by it, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from thinwire.batching import Pass
from thinwire.gathering import Rows, readers_of
from thinwire.packing import Segments

_MOST_SIZES = 8
"""More sizes need less padding, but each is captured once. In the plan's experiment,
471 steps, 4, 8 and 12 sizes are 4.6, 2.6 and 2.2 % of padding; 5 to 7 steps fit none, and are cut in halves."""

_LEAST_INHERITED = 64
"""Keys that a padding segment can look at beside its own rows, at least: the fewer, the more segments it takes."""

_NOBODYS = 2**31
"""The place of a padding answer in its answer: no arm supervises so many."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much a pass holds. Passes of the same sizes can be computed by one graph."""

    tokens: int
    rows: int
    inherited: int
    """Entries of ``key_rows`` beside each row's own: what segments look at of their ancestors."""
    shared: int
    """Rows that several segments look at (``Readers``)."""
    segments: int
    answers: int
    longest_query: int
    longest_key: int
    key_room: int


def sizes_of(one: Pass) -> Sizes:
    """The sizes of a pass."""
    rows = len(one.indices)
    return Sizes(
        tokens=len(one.tokens),
        rows=rows,
        inherited=len(one.segments.key_rows) - rows,
        shared=one.segments.readers.num_shared,
        segments=len(one.segments.query_ends) - 1,
        answers=len(one.answer_ids),
        longest_query=one.segments.longest_query,
        longest_key=one.segments.longest_key,
        key_room=one.segments.key_room,
    )


def plan_sizes(found: Sequence[Sizes]) -> list[Sizes]:
    """A few sizes, ascending, that hold passes like those ``found`` with little padding."""
    ordered = sorted(found, key=lambda sizes: sizes.rows)
    parts = min(_MOST_SIZES, len(ordered))
    return [_room(ordered[n * len(ordered) // parts : (n + 1) * len(ordered) // parts]) for n in range(parts)]


def is_held(one: Pass, planned: Sequence[Sizes]) -> bool:
    """Whether one of the ``planned`` sizes holds this pass."""
    return any(_holds(room, sizes_of(one)) for room in planned)


def padded(one: Pass, planned: Sequence[Sizes]) -> Pass:
    """``one``, on the CPU, filled up to the first of the ``planned`` sizes that holds it; as it is if none does."""
    own = sizes_of(one)
    room = next((room for room in planned if _holds(room, own)), None)
    if room is None:
        return one
    return Pass(
        tokens=_extended(one.tokens, room.tokens, int(one.tokens[0])),
        indices=_extended(one.indices, room.rows, 0),
        positions=_extended(one.positions, room.rows, 0),
        segments=_padded_segments(one.segments, own, room),
        prompt_counts=_extended(one.prompt_counts, room.tokens, 0),
        answer_rows=_extended(one.answer_rows, room.answers, 0),
        answer_ids=_extended(one.answer_ids, room.answers, 0),
        answer_places=_extended(one.answer_places, room.answers, _NOBODYS),
    )


def _room(some: Sequence[Sizes]) -> Sizes:
    """The smallest sizes that hold each of ``some``."""
    most = Sizes(**{field.name: max(getattr(one, field.name) for one in some) for field in fields(Sizes)})
    if most.inherited:
        most = replace(most, key_room=max(most.longest_key, most.longest_query + _LEAST_INHERITED))
    # There is always a padding row: padding keys need somebody to look at them.
    rows = max(one.rows + max(1, _holders(one, most)) for one in some)
    most = replace(most, rows=-(-rows // 8) * 8)
    # Padding keys name padding rows, which are shared then: as many as there can be, or one thread would have to add up
    # the gradients of all those keys.
    shared = max(one.shared + min(most.inherited - one.inherited, most.rows - one.rows) for one in some)
    most = replace(most, shared=shared)
    return replace(most, segments=max(one.segments + _num_padding_segments(one, most) for one in some))


def _holds(room: Sizes, own: Sizes) -> bool:
    if any(there < needed for there, needed in zip(astuple(room), astuple(own), strict=True)):
        return False
    enough_rows = room.rows >= own.rows + max(1, _holders(own, room))
    enough_shared = room.inherited == own.inherited or room.shared > own.shared
    return enough_rows and enough_shared and room.segments >= own.segments + _num_padding_segments(own, room)


def _holders(own: Sizes, room: Sizes) -> int:
    """Padding segments that it takes to look at ``room``'s keys beside their own rows."""
    more = room.inherited - own.inherited
    return -(-more // (room.key_room - room.longest_query)) if more else 0


def _num_padding_segments(own: Sizes, room: Sizes) -> int:
    """So many that none is longer than ``room`` allows; rows there are enough for each to have one."""
    return max(_holders(own, room), -(-(room.rows - own.rows) // room.longest_query))


def _padded_segments(segments: Segments, own: Sizes, room: Sizes) -> Segments:
    """More rows, in segments of their own behind the others, and more keys, which are more of what those look at."""
    parts = _num_padding_segments(own, room)
    rows, inherited = (_shared_out(n, parts) for n in (room.rows - own.rows, room.inherited - own.inherited))
    starts = own.rows + np.cumsum(rows) - rows
    others = own.rows + np.arange(room.inherited - own.inherited) % min(room.rows - own.rows, room.shared - own.shared)
    added = [
        np.concatenate([looked_at, np.arange(start, start + length)])
        for looked_at, start, length in zip(np.split(others, np.cumsum(inherited)[:-1]), starts, rows, strict=True)
    ]
    key_rows = np.concatenate([segments.key_rows.numpy(), *added])
    return Segments(
        query_ends=_continued(segments.query_ends, rows, 1 + room.segments),
        key_rows=torch.from_numpy(key_rows),
        key_ends=_continued(segments.key_ends, rows + inherited, 1 + room.segments),
        readers=readers_of(key_rows, room.shared),
        longest_query=room.longest_query,
        longest_key=room.longest_key,
        key_room=room.key_room,
    )


def _shared_out(number: int, parts: int) -> Rows:
    """``number`` cut into ``parts`` whole numbers, as equal as can be."""
    return np.diff(np.arange(parts + 1) * number // parts)


def _extended(tensor: Tensor, length: int, value: int) -> Tensor:
    """``tensor`` with ``value`` repeated behind it."""
    return torch.cat([tensor, tensor.new_full((length - len(tensor),), value)])


def _continued(ends: Tensor, lengths: Rows, num_ends: int) -> Tensor:
    """The ends of more parts, of these ``lengths``, then of empty ones."""
    more = ends[-1] + torch.from_numpy(lengths).cumsum(0).to(ends.dtype)
    return _extended(torch.cat([ends, more]), num_ends, int(more[-1]))
