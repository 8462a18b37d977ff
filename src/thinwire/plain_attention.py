"""Attention by the plain formula, one block of queries at a time: for processors, and for float32 on any device.

A block is up to 128 queries of one segment with all the keys that its last query sees. Rows are laid out once so that
a block's queries, keys and values lie together, the heads of one group after the other's, and nothing is copied within
a block; what a block computes stays in the cache of the one core that computes it. At the length of a SQuAD prompt that
is several times as fast as torch's own kernel for CPUs (docs/performance.md).
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

from thinwire.gathering import Readers, Rows, gathered, permuted, ranges, readers_of
from thinwire.packing import Segments
from thinwire.workers import side_by_side

_BLOCK_QUERIES = 128

_KEY_STEP = 32
"""A block's keys are a multiple of this, the last ones hidden from its queries: lengths that fill a processor's vectors
take less time than shorter ones that do not."""

MOST_KEPT_KEYS = 384
"""Where queries have more keys than this on average, the backward pass computes their shares again. This many take a
quarter of the memory that a layer of the default model keeps beside them; how many there are grows with the length."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Who attends to whom, for ``H`` heads of queries in ``G`` groups that share their keys.

    ``[T, H, d]`` queries are seen as ``T H`` rows, ``[T, G, d]`` keys as ``T G``.
    """

    query_order: Tensor
    """``[T H]`` int64: rows of queries, block by block, group by group."""
    query_places: Tensor
    """``[T H]`` int64: its inverse."""
    query_ends: Tensor
    """``[B + 1]`` int64: where each block's part of ``query_order`` begins."""
    key_order: Tensor
    """``[K G]`` int64: rows of keys, as the blocks look at them, group by group."""
    key_ends: Tensor
    """``[B + 1]`` int64: where each block's part of ``key_order`` begins."""
    num_before: Tensor
    """``[B]`` int64: keys of each block that come before its own rows, which every query of it sees."""
    readers: Readers
    """Who looks at each row of keys, as entries of ``key_order``."""
    groups: int
    repeats: int
    """Heads of queries in a group: ``H / G``."""
    num_shares: int
    """Shares of attention, over all heads; 0 where they are too many to be kept for a backward pass."""
    longest_key: int
    """Keys of a query at most."""

    @property
    def places(self) -> tuple[Tensor, Tensor, Tensor, int, int]:
        """Where each block lies, as the operators below are told."""
        return self.query_ends, self.key_ends, self.num_before, self.groups, self.repeats


def blocks_of(segments: Segments, heads: int, groups: int) -> Blocks:
    """Cut ``segments``, wherever they lie, into blocks for ``heads`` of queries over ``groups`` of keys."""
    device = segments.query_ends.device
    ends, key_ends = segments.query_ends.cpu().numpy(), segments.key_ends.cpu().numpy()
    lengths = np.diff(ends).astype(np.int64)
    parts = -(-lengths // _BLOCK_QUERIES)
    # Where in its segment each block begins; a segment's last keys are its own rows.
    offsets = ranges(np.zeros_like(parts), parts) * _BLOCK_QUERIES
    left = np.repeat(lengths, parts) - offsets
    num_queries = np.minimum(left, _BLOCK_QUERIES)
    num_before = np.repeat(np.diff(key_ends), parts) - left
    num_keys = -(-(num_before + num_queries) // _KEY_STEP) * _KEY_STEP
    repeats = heads // groups
    queries = _by_group(np.repeat(ends[:-1], parts) + offsets, num_queries, groups)
    query_order = (queries[:, None] * repeats + np.arange(repeats)).ravel()
    places = np.empty_like(query_order)
    places[query_order] = np.arange(len(query_order))
    keys = _by_group(np.repeat(key_ends[:-1], parts), num_keys, groups)
    # Past a segment's end its last row is named again. It is hidden, but a share of zero times NaN would still be NaN,
    # which another arm's row may hold.
    last = np.repeat(np.repeat(key_ends[1:] - 1, parts), num_keys * groups)
    key_order = segments.key_rows.cpu().numpy()[np.minimum(keys // groups, last)] * groups + keys % groups
    num_pairs = int((num_queries * num_keys).sum())

    def at(rows: Rows) -> Tensor:
        return torch.from_numpy(rows).to(device)

    return Blocks(
        query_order=at(query_order),
        query_places=at(places),
        query_ends=at(_ends(num_queries * heads)),
        key_order=at(key_order),
        key_ends=at(_ends(num_keys * groups)),
        num_before=at(num_before),
        readers=readers_of(key_order).to(device),
        groups=groups,
        repeats=repeats,
        num_shares=heads * num_pairs if num_pairs <= MOST_KEPT_KEYS * int(lengths.sum()) else 0,
        longest_key=segments.longest_key,
    )


def _by_group(starts: Rows, lengths: Rows, groups: int) -> Rows:
    """For each run of rows, and in it for each group: the numbers of that group's rows, where every row of ``groups``
    has its own next to one another."""
    group = np.repeat(np.tile(np.arange(groups), len(lengths)), np.repeat(lengths, groups))
    return ranges(np.repeat(starts, groups), np.repeat(lengths, groups)) * groups + group


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
    out, _ = _by_block(
        permuted((q * scale).flatten(0, 1), blocks.query_order, blocks.query_places),
        *(gathered(rows.flatten(0, 1), blocks.key_order, blocks.readers) for rows in (k, v)),
        *blocks.places,
        blocks.num_shares if keep else 0,
    )
    return permuted(out, blocks.query_places, blocks.query_order).view(q.shape)


@torch.library.custom_op("thinwire::attention_by_block", mutates_args=())
def _by_block(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    query_ends: Tensor,
    key_ends: Tensor,
    num_before: Tensor,
    groups: int,
    repeats: int,
    num_shares: int,
) -> tuple[Tensor, Tensor]:
    """The result for rows in the order of the blocks; and the shares, one block's after the other's, ``[num_shares]``,
    unless that is 0."""
    out, kept = torch.empty_like(q), q.new_empty(num_shares)

    def attend(block: _Place) -> None:
        queries, keys, values = (_grouped(rows, groups) for rows in (q[block.own], k[block.seen], v[block.seen]))
        shares = _shares(queries, keys, block.num_before, repeats, kept[block.shares] if num_shares else None)
        torch.bmm(shares, values, out=_grouped(out[block.own], groups))

    _for_each(attend, _places(query_ends, key_ends, num_before, groups), q.device)
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
    groups: int,
    repeats: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to ``q``, ``k`` and ``v``, by the shares that were kept, or else computed again."""
    to_q, to_k, to_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)

    def differentiate(block: _Place) -> None:
        queries, keys, values = (_grouped(rows, groups) for rows in (q[block.own], k[block.seen], v[block.seen]))
        to_out = _grouped(gradient[block.own], groups)
        if len(kept):
            shares = kept[block.shares].view(groups, -1, keys.shape[1])
        else:
            shares = _shares(queries, keys, block.num_before, repeats)
        torch.bmm(shares.transpose(1, 2), to_out, out=_grouped(to_v[block.seen], groups))
        to_shares = torch.bmm(to_out, values.transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_shares, shares, -1, q.dtype)
        torch.bmm(to_scores, keys, out=_grouped(to_q[block.own], groups))
        torch.bmm(to_scores.transpose(1, 2), queries, out=_grouped(to_k[block.seen], groups))

    _for_each(differentiate, _places(query_ends, key_ends, num_before, groups), q.device)
    return to_q, to_k, to_v


_by_block_backward.register_fake(lambda _, *inputs: tuple(map(torch.empty_like, inputs[:3])))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.groups, ctx.repeats, _ = inputs
    q, k, v, *places = tensors
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # zeros for the shares' gradient would take as long as a pass over them
    ctx.save_for_backward(q, k, v, output[1], *places)


def _differentiate(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    to = _by_block_backward(gradient, *ctx.saved_tensors, ctx.groups, ctx.repeats)
    return (*to, *[None] * 6)


_by_block.register_autograd(_differentiate, setup_context=_keep)


class _Place(NamedTuple):
    """Where a block's queries lie, its keys, and its shares."""

    own: slice
    seen: slice
    shares: slice
    num_before: int


def _places(query_ends: Tensor, key_ends: Tensor, num_before: Tensor, groups: int) -> Iterator[_Place]:
    start = 0
    ends = (pairwise(query_ends.tolist()), pairwise(key_ends.tolist()))
    for queries, keys, before in zip(*ends, num_before.tolist(), strict=True):
        stop = start + (queries[1] - queries[0]) * (keys[1] - keys[0]) // groups
        yield _Place(slice(*queries), slice(*keys), slice(start, stop), before)
        start = stop


def _for_each(work: Callable[[_Place], None], places: Iterator[_Place], device: torch.device) -> None:
    """Blocks do not depend on each other: on a processor, every core takes its own."""
    if device.type == "cpu":
        side_by_side(work, places)
    else:
        for place in places:
            work(place)


def _grouped(rows: Tensor, groups: int) -> Tensor:
    """``[G n, d]`` seen as ``[G, n, d]``."""
    return rows.view(groups, -1, rows.shape[-1])


def _shares(queries: Tensor, keys: Tensor, num_before: int, repeats: int, kept: Tensor | None = None) -> Tensor:
    """``[G, n R, S]``: how much each of ``[G, n R, d]`` queries takes of each of ``[G, S, d]`` keys, of which the
    block's own rows come after ``num_before``. Put into ``kept``, if it is given."""
    scores = torch.bmm(queries, keys.transpose(1, 2))
    length = queries.shape[1] // repeats
    later = _later(scores.dtype, scores.device)[:length, None, : keys.shape[1] - num_before]
    scores.unflatten(1, (length, repeats))[..., num_before:].add_(later)
    return torch.softmax(scores, -1, out=None if kept is None else kept.view(scores.shape))


@lru_cache(maxsize=4)
def _later(dtype: torch.dtype, device: torch.device) -> Tensor:
    """For the most queries and keys of a block: minus infinity where a key (column, from the first query's) comes after
    a query (row), else zero."""
    most = _BLOCK_QUERIES + _KEY_STEP - 1
    return torch.full((_BLOCK_QUERIES, most), -torch.inf, dtype=dtype, device=device).triu_(1)
