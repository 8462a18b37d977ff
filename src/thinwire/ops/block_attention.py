"""Exact attention over packed segments, one block of queries at a time: on a CPU, and for float32 on any device.

A block is up to 128 queries of one segment with all keys that its last query sees. On a CPU one core computes a whole
block in its own cache, with the query heads that share a key head laid one after the other. At the length of a SQuAD
prompt that is several times as fast as torch's own CPU kernel ("Attention" in docs/performance/log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from thinwire.ops.device import sent
from thinwire.ops.gather import InverseIndex, Rows, gathered, inverse_index_of, ranges
from thinwire.ops.packing import Segments
from thinwire.ops.threads import parallel_for

BLOCK_QUERIES = 128
"""Most queries in a block."""

KEY_STEP = 32
"""The number of keys in a block is a multiple of this; the surplus keys are masked. Lengths that fill a CPU's vector
registers take less time than shorter ones that do not."""

_MIN_KEYS_BEFORE = 512
"""Smallest number of keys before a block's own for which a causal mask is made. For more keys it is the next power of
two, so that a few cached masks serve prompts of all lengths."""

MOST_KEPT_KEYS = 384
"""Most keys per query, on average, for which attention weights are kept for the backward pass; above it they are
computed again there. Weights of 384 keys take a quarter of the memory that a layer of the default model keeps beside
them, and their number grows with the prompt's length."""


@dataclass(frozen=True, kw_only=True)
class AttentionBlocks:
    """``B`` blocks of ``T`` queries in all, with ``K`` keys in all, in the order of the queries."""

    query_ends: Tensor
    """``[B + 1]`` int64: where each block's queries begin."""
    key_rows: Tensor
    """``[K]`` int64: the rows that are each block's keys, one block after the other."""
    key_ends: Tensor
    """``[B + 1]`` int64: where each block's part of ``key_rows`` begins."""
    num_before: Tensor
    """``[B]`` int64: number of a block's keys that come before its own rows; all its queries see them."""
    inverse_index: InverseIndex
    """For each row, the entries of ``key_rows`` that name it."""
    num_pairs: int
    """Query-key pairs in all blocks; 0 if their attention weights are too many to be kept for a backward pass."""
    longest_key: int
    """Most keys that a query sees."""

    @property
    def places(self) -> tuple[Tensor, Tensor, Tensor]:
        """``query_ends``, ``key_ends`` and ``num_before``: the arguments of the operators below."""
        return self.query_ends, self.key_ends, self.num_before

    def to(self, device: torch.device) -> AttentionBlocks:
        """Copy the blocks to ``device``."""
        return replace(
            self,
            query_ends=sent(self.query_ends, device),
            key_rows=sent(self.key_rows, device),
            key_ends=sent(self.key_ends, device),
            num_before=sent(self.num_before, device),
            inverse_index=self.inverse_index.to(device),
        )


def blocks_of(segments: Segments) -> AttentionBlocks:
    """Cut ``segments`` into blocks, on the device of ``segments``."""
    device = segments.query_ends.device
    ends, key_ends = (tensor.cpu().numpy().astype(np.int64) for tensor in (segments.query_ends, segments.key_ends))
    lengths = np.diff(ends)
    parts = -(-lengths // BLOCK_QUERIES)
    # Where each block begins in its segment. A segment's last keys are its own rows.
    offsets = ranges(np.zeros_like(parts), parts) * BLOCK_QUERIES
    left = np.repeat(lengths, parts) - offsets
    num_queries = np.minimum(left, BLOCK_QUERIES)
    num_before = np.repeat(np.diff(key_ends), parts) - left
    num_keys = -(-(num_before + num_queries) // KEY_STEP) * KEY_STEP
    # Surplus keys repeat the segment's own last row. They are masked, but 0 * NaN is NaN, so it must not be a row of
    # another arm, which may hold NaN.
    last = np.repeat(np.repeat(key_ends[1:] - 1, parts), num_keys)
    key_rows = segments.key_rows.cpu().numpy()[np.minimum(ranges(np.repeat(key_ends[:-1], parts), num_keys), last)]
    num_pairs = int((num_queries * num_keys).sum())

    def on_device(rows: Rows) -> Tensor:
        return torch.from_numpy(rows).to(device)

    return AttentionBlocks(
        query_ends=on_device(_ends(num_queries)),
        key_rows=on_device(key_rows),
        key_ends=on_device(_ends(num_keys)),
        num_before=on_device(num_before),
        inverse_index=inverse_index_of(key_rows).to(device),
        num_pairs=num_pairs if num_pairs <= MOST_KEPT_KEYS * int(lengths.sum()) else 0,
        longest_key=segments.longest_key,
    )


def _ends(lengths: Rows) -> Rows:
    """Return the cumulative sums of ``lengths``, with a leading 0."""
    return np.concatenate([[0], np.cumsum(lengths)])


def plain_attention(q: Tensor, k: Tensor, v: Tensor, blocks: AttentionBlocks, scale: float) -> Tensor:
    """Compute ``softmax(scale * q k^T) v`` for each block, in the inputs' dtype.

    Args:
        q: ``[T, H, d]``.
        k: ``[T, G, d]``; each of its heads serves ``H / G`` neighbouring heads of ``q``.
        v: like ``k``.

    Returns:
        ``[T, H, d]``.
    """
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (q, k, v))
    keys, values = (gathered(rows, blocks.key_rows, blocks.inverse_index) for rows in (k, v))
    num_weights = q.shape[1] * blocks.num_pairs if keep else 0
    out: Tensor = attention_by_block(q * scale, keys, values, *blocks.places, num_weights)[0]
    return out


@torch.library.custom_op("thinwire::attention_by_block", mutates_args=())
def attention_by_block(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    query_ends: Tensor,
    key_ends: Tensor,
    num_before: Tensor,
    num_weights: int,
) -> tuple[Tensor, Tensor]:
    """Attend from scaled queries ``[T, H, d]`` to gathered keys and values ``[K, G, d]``, block by block.

    Args:
        num_weights: attention weights to return: ``H`` times the number of query-key pairs, or 0 to return none.

    Returns:
        The output ``[T, H, d]``; and the attention weights ``[num_weights]``, one block's after the other's.
    """
    out, kept = torch.empty_like(q), q.new_empty(num_weights)
    groups = k.shape[1]

    def attend(block: _Block) -> None:
        queries, keys, values = (_group_heads(rows, groups) for rows in (q[block.own], k[block.seen], v[block.seen]))
        weights = _attention_weights(queries, keys, block, kept[block.weights] if num_weights else None)
        _write(torch.bmm(weights, values), out[block.own])

    _for_each(attend, _blocks(query_ends, key_ends, num_before, q.shape[1]), q.device)
    return out, kept


attention_by_block.register_fake(lambda q, *others: (torch.empty_like(q), q.new_empty(others[-1])))


@torch.library.custom_op("thinwire::attention_by_block_backward", mutates_args=())
def attention_by_block_backward(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kept: Tensor,
    query_ends: Tensor,
    key_ends: Tensor,
    num_before: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``q``, ``k`` and ``v``, from the ``kept`` attention weights or, if that is empty, from
    weights computed again."""
    to_q, to_k, to_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    groups = k.shape[1]

    def differentiate(block: _Block) -> None:
        queries, to_out, keys, values = (
            _group_heads(rows, groups) for rows in (q[block.own], gradient[block.own], k[block.seen], v[block.seen])
        )
        if len(kept):
            weights = kept[block.weights].view(groups, -1, keys.shape[1])
        else:
            weights = _attention_weights(queries, keys, block)
        _write(torch.bmm(weights.transpose(1, 2), to_out), to_v[block.seen])
        to_weights = torch.bmm(to_out, values.transpose(1, 2))
        # Torch has no public operator for softmax's gradient in one pass over the weights.
        to_scores = torch._softmax_backward_data(to_weights, weights, -1, q.dtype)
        _write(torch.bmm(to_scores, keys), to_q[block.own])
        _write(torch.bmm(to_scores.transpose(1, 2), queries), to_k[block.seen])

    _for_each(differentiate, _blocks(query_ends, key_ends, num_before, q.shape[1]), q.device)
    return to_q, to_k, to_v


attention_by_block_backward.register_fake(lambda _, *inputs: tuple(map(torch.empty_like, inputs[:3])))


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, *places, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # a gradient of zeros for the weights would cost a write of all of them
    ctx.save_for_backward(q, k, v, output[1], *places)


def _backward(ctx: Any, gradient: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
    to = (None, None, None) if gradient is None else attention_by_block_backward(gradient, *ctx.saved_tensors)
    return (*to, None, None, None, None)


attention_by_block.register_autograd(_backward, setup_context=_save_for_backward)


class _Block(NamedTuple):
    """The positions of a block's queries, keys and attention weights."""

    own: slice
    """Its queries."""
    seen: slice
    """Its keys."""
    weights: slice
    """Its attention weights."""
    num_before: int
    """Number of keys before its own rows."""


def _blocks(query_ends: Tensor, key_ends: Tensor, num_before: Tensor, heads: int) -> Iterator[_Block]:
    """Yield the blocks that ``AttentionBlocks.places`` describes."""
    start = 0
    ends = (pairwise(query_ends.tolist()), pairwise(key_ends.tolist()))
    for (first, last), (first_key, last_key), before in zip(*ends, num_before.tolist(), strict=True):
        stop = start + heads * (last - first) * (last_key - first_key)
        yield _Block(slice(first, last), slice(first_key, last_key), slice(start, stop), before)
        start = stop


def _for_each(work: Callable[[_Block], None], blocks: Iterator[_Block], device: torch.device) -> None:
    """Call ``work`` on every block; on a CPU in parallel, a core for each block."""
    if device.type == "cpu":
        parallel_for(work, blocks)
    else:
        for block in blocks:
            work(block)


def _group_heads(rows: Tensor, groups: int) -> Tensor:
    """Copy ``[n, G R, d]`` to ``[G, n R, d]``: ``R`` heads for each of ``G`` groups. The copy fits a core's cache."""
    return _by_group(rows, groups).contiguous().flatten(1, 2)


def _write(result: Tensor, rows: Tensor) -> None:
    """Write ``[G, n R, d]`` into ``rows`` ``[n, G R, d]``: the inverse of ``_group_heads``."""
    target = _by_group(rows, len(result))
    target.copy_(result.view(target.shape))


def _by_group(rows: Tensor, groups: int) -> Tensor:
    """View ``[n, G R, d]`` as ``[G, n, R, d]``."""
    return rows.view(len(rows), groups, -1, rows.shape[-1]).transpose(0, 1)


def _attention_weights(queries: Tensor, keys: Tensor, block: _Block, kept: Tensor | None = None) -> Tensor:
    """Return the attention weights ``[G, n R, S]`` of ``[G, n R, d]`` queries over ``[G, S, d]`` keys; they are written
    into ``kept`` if it is given."""
    repeats = queries.shape[1] // (block.own.stop - block.own.start)
    most_before = max(_MIN_KEYS_BEFORE, 1 << block.num_before.bit_length())
    start = most_before - block.num_before
    mask = causal_mask(most_before, repeats, queries.dtype, queries.device)
    mask = mask[: queries.shape[1], start : start + keys.shape[1]]
    scores = torch.baddbmm(mask, queries, keys.transpose(1, 2))
    return torch.softmax(scores, -1, out=None if kept is None else kept.view(scores.shape))


@lru_cache(maxsize=16)
def causal_mask(most_before: int, repeats: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the additive mask of the largest block: minus infinity where a key comes after a query, else zero.

    Args:
        most_before: number of keys before the block's own rows.
        repeats: number of rows for each query, one for each head of a group.

    Returns:
        ``[repeats * BLOCK_QUERIES, most_before + BLOCK_QUERIES + KEY_STEP - 1]``.
    """
    most = BLOCK_QUERIES + KEY_STEP - 1
    later = torch.full((BLOCK_QUERIES, most_before + most), -torch.inf, dtype=dtype, device=device)
    return later.triu_(most_before + 1).repeat_interleave(repeats, dim=0)
