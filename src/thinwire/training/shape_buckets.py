"""Pad micro-batches to a few shape buckets: a CUDA graph runs only with tensors of the shapes it was captured with.

A packed micro-batch has as many tokens as its questions happen to have. Here it is padded to one of a few buckets with
tokens that do not count, answers that no arm supervises, and rows that attend only to each other. Losses and gradients
change by rounding only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from thinwire.ops.gather import Rows, inverse_index_of
from thinwire.ops.packing import Segments
from thinwire.training.microbatches import MicroBatch

_MAX_BUCKETS = 8
"""More buckets need less padding, but each is captured once. In the plan's experiment, 471 steps, 4, 8 and 12 buckets
are 4.6, 2.6 and 2.2 % of padding; 5 to 7 steps fit no bucket and are halved."""

_MIN_INHERITED_KEYS = 64
"""Least number of keys beside its own rows that a padding segment may have; fewer would take more segments."""

_UNSUPERVISED_PLACE = 2**31
"""The place of a padding answer token in its answer, beyond any arm's number of supervised tokens."""


@dataclass(frozen=True, kw_only=True)
class ShapeBucket:
    """The sizes of a micro-batch's tensors. Micro-batches of one bucket can run as one CUDA graph."""

    tokens: int
    """Distinct tokens."""
    rows: int
    """Packed tokens."""
    inherited: int
    """Entries of ``key_rows`` that are rows of a segment's ancestors, not its own."""
    shared: int
    """Rows that are keys of several segments (``InverseIndex``)."""
    segments: int
    answers: int
    """Supervised tokens."""
    longest_query: int
    """Most queries of a segment."""
    longest_key: int
    """Most keys of a segment, padding segments excluded."""
    key_room: int
    """Most keys of a segment, padding segments included."""


def shape_of(micro_batch: MicroBatch) -> ShapeBucket:
    """Return the sizes of ``micro_batch``."""
    segments, rows = micro_batch.segments, len(micro_batch.indices)
    return ShapeBucket(
        tokens=len(micro_batch.tokens),
        rows=rows,
        inherited=len(segments.key_rows) - rows,
        shared=segments.inverse_index.num_shared,
        segments=len(segments.query_ends) - 1,
        answers=len(micro_batch.answer_ids),
        longest_query=segments.longest_query,
        longest_key=segments.longest_key,
        key_room=segments.key_room,
    )


def plan_buckets(found: Sequence[ShapeBucket]) -> list[ShapeBucket]:
    """Plan a few buckets, ascending, that hold micro-batches of the shapes ``found`` with little padding."""
    ordered = sorted(found, key=lambda shape: shape.rows)
    parts = min(_MAX_BUCKETS, len(ordered))
    return [_bucket_for(ordered[n * len(ordered) // parts : (n + 1) * len(ordered) // parts]) for n in range(parts)]


def fits_a_bucket(micro_batch: MicroBatch, planned: Sequence[ShapeBucket]) -> bool:
    """Return whether ``micro_batch`` can be padded to one of the ``planned`` buckets."""
    return any(_fits(shape_of(micro_batch), bucket) for bucket in planned)


def padded(micro_batch: MicroBatch, planned: Sequence[ShapeBucket]) -> MicroBatch:
    """Pad ``micro_batch``, on the CPU, to the first of the ``planned`` buckets that it fits; return it unchanged if it
    fits none."""
    own = shape_of(micro_batch)
    bucket = next((bucket for bucket in planned if _fits(own, bucket)), None)
    if bucket is None:
        return micro_batch
    return MicroBatch(
        tokens=_extended(micro_batch.tokens, bucket.tokens, int(micro_batch.tokens[0])),
        indices=_extended(micro_batch.indices, bucket.rows, 0),
        positions=_extended(micro_batch.positions, bucket.rows, 0),
        segments=_padded_segments(micro_batch.segments, own, bucket),
        prompt_counts=_extended(micro_batch.prompt_counts, bucket.tokens, 0),
        answer_rows=_extended(micro_batch.answer_rows, bucket.answers, 0),
        answer_ids=_extended(micro_batch.answer_ids, bucket.answers, 0),
        answer_places=_extended(micro_batch.answer_places, bucket.answers, _UNSUPERVISED_PLACE),
        teacher_states=_extended(micro_batch.teacher_states, bucket.answers, 0),
    )


def _bucket_for(shapes: Sequence[ShapeBucket]) -> ShapeBucket:
    """Return the smallest bucket that each of ``shapes`` fits."""
    names = [field.name for field in fields(ShapeBucket)]
    bucket = ShapeBucket(**{name: max(getattr(shape, name) for shape in shapes) for name in names})
    if bucket.inherited:
        bucket = replace(bucket, key_room=max(bucket.longest_key, bucket.longest_query + _MIN_INHERITED_KEYS))
    # There is at least one padding row: padding keys need a segment that attends to them.
    rows = max(shape.rows + max(1, _num_inheriting(shape, bucket)) for shape in shapes)
    bucket = replace(bucket, rows=-(-rows // 8) * 8)
    # Padding keys are padding rows, which count as shared. Spread the keys over as many rows as possible, because one
    # thread adds up all gradients of a row.
    shared = max(shape.shared + min(bucket.inherited - shape.inherited, bucket.rows - shape.rows) for shape in shapes)
    bucket = replace(bucket, shared=shared)
    return replace(bucket, segments=max(shape.segments + _num_padding_segments(shape, bucket) for shape in shapes))


def _fits(own: ShapeBucket, bucket: ShapeBucket) -> bool:
    """Return whether a micro-batch of shape ``own`` can be padded to ``bucket``."""
    if any(there < needed for there, needed in zip(astuple(bucket), astuple(own), strict=True)):
        return False
    enough_rows = bucket.rows >= own.rows + max(1, _num_inheriting(own, bucket))
    enough_shared = bucket.inherited == own.inherited or bucket.shared > own.shared
    return enough_rows and enough_shared and bucket.segments >= own.segments + _num_padding_segments(own, bucket)


def _num_inheriting(own: ShapeBucket, bucket: ShapeBucket) -> int:
    """Return the number of padding segments that the bucket's surplus inherited keys need."""
    more = bucket.inherited - own.inherited
    return -(-more // (bucket.key_room - bucket.longest_query)) if more else 0


def _num_padding_segments(own: ShapeBucket, bucket: ShapeBucket) -> int:
    """Return the number of padding segments, so that none is longer than ``bucket`` allows. There are enough padding
    rows for one in each."""
    return max(_num_inheriting(own, bucket), -(-(bucket.rows - own.rows) // bucket.longest_query))


def _padded_segments(segments: Segments, own: ShapeBucket, bucket: ShapeBucket) -> Segments:
    """Add the padding rows as segments of their own behind the others; their surplus keys are padding rows too."""
    parts = _num_padding_segments(own, bucket)
    num_rows, num_inherited = bucket.rows - own.rows, bucket.inherited - own.inherited
    rows, inherited = _split_evenly(num_rows, parts), _split_evenly(num_inherited, parts)
    starts = own.rows + np.cumsum(rows) - rows
    surplus = own.rows + np.arange(num_inherited) % min(num_rows, bucket.shared - own.shared)
    added = [
        np.concatenate([keys, np.arange(start, start + length)])
        for keys, start, length in zip(np.split(surplus, np.cumsum(inherited)[:-1]), starts, rows, strict=True)
    ]
    key_rows = np.concatenate([segments.key_rows.numpy(), *added])
    return Segments(
        query_ends=_continued(segments.query_ends, rows, 1 + bucket.segments),
        key_rows=torch.from_numpy(key_rows),
        key_ends=_continued(segments.key_ends, rows + inherited, 1 + bucket.segments),
        inverse_index=inverse_index_of(key_rows, bucket.shared),
        longest_query=bucket.longest_query,
        longest_key=bucket.longest_key,
        key_room=bucket.key_room,
    )


def _split_evenly(number: int, parts: int) -> Rows:
    """Split ``number`` into ``parts`` whole numbers that differ by 1 at most."""
    return np.diff(np.arange(parts + 1) * number // parts)


def _extended(tensor: Tensor, length: int, value: int) -> Tensor:
    """Pad ``tensor`` ``[N, ...]`` to ``length`` entries with ``value``."""
    return torch.cat([tensor, tensor.new_full((length - len(tensor), *tensor.shape[1:]), value)])


def _continued(ends: Tensor, lengths: Rows, num_ends: int) -> Tensor:
    """Append to the boundaries ``ends`` parts of these ``lengths``, then empty parts up to ``num_ends`` entries."""
    more = ends[-1] + torch.from_numpy(lengths).cumsum(0).to(ends.dtype)
    return _extended(torch.cat([ends, more]), num_ends, int(more[-1]))
