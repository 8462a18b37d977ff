"""Attention by the plain formula, one block of queries at a time: for processors, and for float32 on any device.

A block is up to 128 queries of one segment with all the keys that its last query sees. One core computes it, in its own
cache, where the heads of queries that share their keys are laid one after the other. At the length of a SQuAD prompt
that is several times as fast as torch's own kernel for CPUs (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from thinwire.gathering import Readers, Rows, gathered, ranges, readers_of
from thinwire.packing import Segments
from thinwire.workers import side_by_side

_BLOCK_QUERIES = 128

_KEY_STEP = 32
"""A block's keys are a multiple of this, the last ones hidden from its queries: lengths that fill a processor's vectors
take less time than shorter ones that do not."""

_LEAST_ROOM = 512
"""Keys before a block's own for which there is room at least in what is added to its scores; where there are more, a
power of two, so that a few tensors serve prompts of all lengths."""

MOST_KEPT_KEYS = 384
"""Where queries have more keys than this on average, the backward pass computes their shares again. This many take a
quarter of the memory that a layer of the default model keeps beside them; how many there are grows with the length."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Who attends to whom: ``B`` blocks of ``T`` queries, in their order, with ``K`` keys."""

    query_ends: Tensor
    """``[B + 1]`` int64: where each block's queries begin."""
    key_rows: Tensor
    """``[K]`` int64: for one block after the other, the rows that it looks at."""
    key_ends: Tensor
    """``[B + 1]`` int64: where each block's part of ``key_rows`` begins."""
    num_before: Tensor
    """``[B]`` int64: keys of each block that come before its own rows, which every query of it sees."""
    readers: Readers
    """Who looks at each row, as entries of ``key_rows``."""
    num_pairs: int
    """Queries and keys that are multiplied; 0 where their shares are too many to be kept for a backward pass."""
    longest_key: int
    """Keys of a query at most."""

    @property
    def places(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where each block lies, as the operators below are told."""
        return self.query_ends, self.key_ends, self.num_before


def blocks_of(segments: Segments) -> Blocks:
    """Cut ``segments``, wherever they lie, into blocks."""
    device = segments.query_ends.device
    ends, key_ends = (tensor.cpu().numpy().astype(np.int64) for tensor in (segments.query_ends, segments.key_ends))
    lengths = np.diff(ends)
    parts = -(-lengths // _BLOCK_QUERIES)
    # Where in its segment each block begins; a segment's last keys are its own rows.
    offsets = ranges(np.zeros_like(parts), parts) * _BLOCK_QUERIES
    left = np.repeat(lengths, parts) - offsets
    num_queries = np.minimum(left, _BLOCK_QUERIES)
    num_before = np.repeat(np.diff(key_ends), parts) - left
    num_keys = -(-(num_before + num_queries) // _KEY_STEP) * _KEY_STEP
    # Past a segment's end its last row is named again. It is hidden, but a share of zero times NaN would still be NaN,
    # which another arm's row may hold.
    last = np.repeat(np.repeat(key_ends[1:] - 1, parts), num_keys)
    key_rows = segments.key_rows.cpu().numpy()[np.minimum(ranges(np.repeat(key_ends[:-1], parts), num_keys), last)]
    num_pairs = int((num_queries * num_keys).sum())

    def at(rows: Rows) -> Tensor:
        return torch.from_numpy(rows).to(device)

    return Blocks(
        query_ends=at(_ends(num_queries)),
        key_rows=at(key_rows),
        key_ends=at(_ends(num_keys)),
        num_before=at(num_before),
        readers=readers_of(key_rows).to(device),
        num_pairs=num_pairs if num_pairs <= MOST_KEPT_KEYS * int(lengths.sum()) else 0,
        longest_key=segments.longest_key,
    )


def _ends(lengths: Rows) -> Rows:
    return np.concatenate([[0], np.cumsum(lengths)])


def plain_attention(q: Tensor, k: Tensor, v: Tensor, blocks: Blocks, scale: float) -> Tensor:
    """``softmax(scale * q k^T) v`` for each block, in the inputs' dtype.

    Args:
        q: ``[T, H, d]``.
        k: ``[T, G, d]``, each of its heads serving ``H / G`` neighbouring heads of ``q``.
        v: like ``k``.

    Returns:
        ``[T, H, d]``.
    """
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (q, k, v))
    keys, values = (gathered(rows, blocks.key_rows, blocks.readers) for rows in (k, v))
    num_shares = q.shape[1] * blocks.num_pairs if keep else 0
    out: Tensor = _by_block(q * scale, keys, values, *blocks.places, num_shares)[0]
    return out


@torch.library.custom_op("thinwire::attention_by_block", mutates_args=())
def _by_block(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    query_ends: Tensor,
    key_ends: Tensor,
    num_before: Tensor,
    num_shares: int,
) -> tuple[Tensor, Tensor]:
    """The result of ``[T, H, d]`` queries for ``[K, G, d]`` keys and values; and the shares, one block's after the
    other's, ``[num_shares]``, unless that is 0."""
    out, kept = torch.empty_like(q), q.new_empty(num_shares)
    groups = k.shape[1]

    def attend(block: _Block) -> None:
        queries, keys, values = (_laid_out(rows, groups) for rows in (q[block.own], k[block.seen], v[block.seen]))
        shares = _shares(queries, keys, block, kept[block.shares] if num_shares else None)
        _put(torch.bmm(shares, values), out[block.own])

    _for_each(attend, _blocks(query_ends, key_ends, num_before, q.shape[1]), q.device)
    return out, kept


_by_block.register_fake(lambda q, *others: (torch.empty_like(q), q.new_empty(others[-1])))


@torch.library.custom_op("thinwire::attention_by_block_backward", mutates_args=())
def _by_block_backward(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kept: Tensor,
    query_ends: Tensor,
    key_ends: Tensor,
    num_before: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to ``q``, ``k`` and ``v``, by the shares that were kept, or else computed again."""
    to_q, to_k, to_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    groups = k.shape[1]

    def differentiate(block: _Block) -> None:
        queries, to_out, keys, values = (
            _laid_out(rows, groups) for rows in (q[block.own], gradient[block.own], k[block.seen], v[block.seen])
        )
        shares = kept[block.shares].view(groups, -1, keys.shape[1]) if len(kept) else _shares(queries, keys, block)
        _put(torch.bmm(shares.transpose(1, 2), to_out), to_v[block.seen])
        to_shares = torch.bmm(to_out, values.transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_shares, shares, -1, q.dtype)
        _put(torch.bmm(to_scores, keys), to_q[block.own])
        _put(torch.bmm(to_scores.transpose(1, 2), queries), to_k[block.seen])

    _for_each(differentiate, _blocks(query_ends, key_ends, num_before, q.shape[1]), q.device)
    return to_q, to_k, to_v


_by_block_backward.register_fake(lambda _, *inputs: tuple(map(torch.empty_like, inputs[:3])))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, *places, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # zeros for the shares' gradient would take as long as a pass over them
    ctx.save_for_backward(q, k, v, output[1], *places)


def _differentiate(ctx: Any, gradient: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    to = (None, None, None) if gradient is None else _by_block_backward(gradient, *ctx.saved_tensors)
    return (*to, None, None, None, None)


_by_block.register_autograd(_differentiate, setup_context=_keep)


class _Block(NamedTuple):
    """Where a block's queries lie, its keys, and its shares."""

    own: slice
    seen: slice
    shares: slice
    num_before: int
    """Of the keys that it sees, those before its own."""


def _blocks(query_ends: Tensor, key_ends: Tensor, num_before: Tensor, heads: int) -> Iterator[_Block]:
    start = 0
    ends = (pairwise(query_ends.tolist()), pairwise(key_ends.tolist()))
    for (first, last), (first_key, last_key), before in zip(*ends, num_before.tolist(), strict=True):
        stop = start + heads * (last - first) * (last_key - first_key)
        yield _Block(slice(first, last), slice(first_key, last_key), slice(start, stop), before)
        start = stop


def _for_each(work: Callable[[_Block], None], blocks: Iterator[_Block], device: torch.device) -> None:
    """Blocks do not depend on each other: on a processor, every core takes its own."""
    if device.type == "cpu":
        side_by_side(work, blocks)
    else:
        for block in blocks:
            work(block)


def _laid_out(rows: Tensor, groups: int) -> Tensor:
    """``[n, G R, d]``, a few heads for each of ``G`` groups, as ``[G, n R, d]``: a copy in a core's own cache."""
    return _by_group(rows, groups).contiguous().flatten(1, 2)


def _put(result: Tensor, rows: Tensor) -> None:
    """Write ``[G, n R, d]`` into ``rows`` ``[n, G R, d]``."""
    place = _by_group(rows, len(result))
    place.copy_(result.view(place.shape))


def _by_group(rows: Tensor, groups: int) -> Tensor:
    """``[n, G R, d]`` seen as ``[G, n, R, d]``."""
    return rows.view(len(rows), groups, -1, rows.shape[-1]).transpose(0, 1)


def _shares(queries: Tensor, keys: Tensor, block: _Block, kept: Tensor | None = None) -> Tensor:
    """``[G, n R, S]``: how much each of ``[G, n R, d]`` queries takes of each of ``[G, S, d]`` keys. Put into ``kept``,
    if it is given."""
    repeats = queries.shape[1] // (block.own.stop - block.own.start)
    room = max(_LEAST_ROOM, 1 << block.num_before.bit_length())
    start = room - block.num_before
    hidden = _hidden(room, repeats, queries.dtype, queries.device)[: queries.shape[1], start : start + keys.shape[1]]
    scores = torch.baddbmm(hidden, queries, keys.transpose(1, 2))
    return torch.softmax(scores, -1, out=None if kept is None else kept.view(scores.shape))


@lru_cache(maxsize=16)
def _hidden(room: int, repeats: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """For the most queries of a block, each named ``repeats`` times, and keys of which ``room`` come before its own:
    minus infinity where a key comes after a query, else zero."""
    most = _BLOCK_QUERIES + _KEY_STEP - 1
    later = torch.full((_BLOCK_QUERIES, room + most), -torch.inf, dtype=dtype, device=device).triu_(room + 1)
    return later.repeat_interleave(repeats, dim=0)
