"""Attention over packed segments, and over a cache, as an attention function of transformers.

Every segment's queries attend to the rows of its ancestors and, causally, to its own: see ``packing``. On CUDA this is
flash attention over sequences of unequal lengths (Dao 2023, arXiv:2307.08691), on the gathered keys. Elsewhere it is
the plain formula, one segment at a time: on a CPU that is twice as fast as torch's own flash kernel at the length of a
SQuAD prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from inspect import signature
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from thinwire.errors import UsageError
from thinwire.packing import Segments

_NAME = "thinwire_segments"
_BLOCK_QUERIES = 128
_GROUPED_HEADS: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}
"""Newer releases want to be told that keys may have fewer heads than queries; older ones just take them."""


@contextmanager
def exchanged(model: Any) -> Iterator[None]:
    """Make ``model`` attend by this module, for the length of the block. Its forward call then takes either of

    - ``segments`` (a ``Segments``): sequences are packed, as training and reading prompts have them;
    - ``key_mask`` (``[B, S]`` bool): one more token of each of ``B`` sequences, over the keys that are true.

    Raises:
        UsageError: the model's attention cannot be exchanged.
    """
    before = model.config._attn_implementation
    if before == _NAME:
        yield
        return
    AttentionInterface.register(_NAME, _attend)
    model.set_attn_implementation(_NAME)
    if model.config._attn_implementation != _NAME:
        raise UsageError(
            f"{type(model).__name__} does not let its attention be exchanged (transformers' AttentionInterface), "
            "which packed sequences need; choose a model that does, such as Llama, Qwen, Mistral or SmolLM"
        )
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: Segments | None = None,
    key_mask: Tensor | None = None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Transformers' contract: ``[A, H, T, d]`` queries, ``[A, G, S, d]`` keys and values to ``[A, T, H, d]``."""
    longest = key.shape[2] if segments is None else segments.longest_key
    _refuse_what_is_not_plain(longest, **others)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if segments is None:
        assert key_mask is not None, "over a cache, there is a mask"
        return _next_token(query, key, value, key_mask, scale), None
    q, k, v = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
    if q.is_cuda and q.dtype in (torch.bfloat16, torch.float16):
        out = _flash(q, k, v, segments, scale)
    else:
        out = plain_attention(q, k, v, segments.query_ends, segments.key_rows, segments.key_ends, scale)
    return out.view(query.shape[0], query.shape[2], *out.shape[1:]), None


def _refuse_what_is_not_plain(
    longest: int, *, sliding_window: int | None = None, softcap: float | None = None, s_aux: Any = None, **_: Any
) -> None:
    if sliding_window is not None and sliding_window < longest:
        raise UsageError(
            f"the model attends to the last {sliding_window} tokens alone, but a prompt has {longest}; "
            "shorten prompts with prompt.max_tokens"
        )
    if softcap is not None or s_aux is not None:
        raise UsageError("the model caps its attention scores or has attention sinks, which is not supported yet")


def _next_token(query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, scale: float) -> Tensor:
    """One query a sequence: each key is read once for all the heads that share it, and is never copied."""
    batch, heads, _, width = query.shape
    grouped = query.view(batch, key.shape[1], -1, width)
    scores = (grouped @ key.transpose(2, 3)).mul_(scale).masked_fill_(~key_mask[:, None, None], -torch.inf)
    return (scores.softmax(-1) @ value).view(batch, 1, heads, width)


def _flash(q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float) -> Tensor:
    """``[T, H, d]`` queries against ``[T, G, d]`` keys and values."""
    out = varlen_attn(
        q,
        _gather_keys(k, segments),
        _gather_keys(v, segments),
        segments.query_ends,
        segments.key_ends,
        segments.longest_query,
        segments.key_room,
        scale=scale,
        window_size=(-1, 0),  # causal, the last query aligned with the last key
        **_GROUPED_HEADS,
    )
    assert isinstance(out, Tensor), "no auxiliary output was asked for"
    return out


class _GatherKeys(torch.autograd.Function):
    """``source[key_rows]``. What segments return to a row is added up in float32, in a fixed order, by one kernel; what
    torch would do to add deterministically is sort the rows anew in every layer."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, key_rows: Tensor, readers: Tensor, reader_ends: Tensor) -> Tensor:
        ctx.save_for_backward(readers, reader_ends)
        return source[key_rows]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = gradients
        readers, reader_ends = ctx.saved_tensors
        sums, *_ = torch.embedding_bag(gradient.flatten(1), readers, reader_ends, include_last_offset=True)
        return sums.view(-1, *gradient.shape[1:]), None, None, None


def _gather_keys(source: Tensor, segments: Segments) -> Tensor:
    gathered: Tensor = _GatherKeys.apply(  # type: ignore[no-untyped-call]
        source, segments.key_rows, segments.readers, segments.reader_ends
    )
    return gathered


@torch.library.custom_op("thinwire::plain_attention", mutates_args=())
def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, query_ends: Tensor, key_rows: Tensor, key_ends: Tensor, scale: float
) -> Tensor:
    """``softmax(scale * q k^T) v`` for each segment, in the inputs' dtype.

    Args:
        q: ``[T, H, d]``.
        k: ``[T, G, d]``, each of its heads serving ``H / G`` neighbouring heads of ``q``.
        v: like ``k``.

    Returns:
        ``[T, H, d]``.
    """
    out = torch.empty_like(q)
    for own, rows in _segments(query_ends, key_rows, key_ends):
        queries, keys, values = _by_group(q[own], k.shape[1]), k[rows].transpose(0, 1), v[rows].transpose(0, 1)
        out[own] = _by_row(torch.bmm(_shares(queries, keys, own, scale), values), q)
    return out


plain_attention.register_fake(lambda q, *_: torch.empty_like(q))


@torch.library.custom_op("thinwire::plain_attention_backward", mutates_args=())
def _plain_attention_backward(
    gradient: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    query_ends: Tensor,
    key_rows: Tensor,
    key_ends: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to ``q``, ``k`` and ``v``; the shares are computed again rather than kept."""
    to_q = torch.empty_like(q)
    # A shared row gathers from every segment that reads it: in float32, or it would round at each.
    to_k, to_v = torch.zeros_like(k, dtype=torch.float32), torch.zeros_like(v, dtype=torch.float32)
    for own, rows in _segments(query_ends, key_rows, key_ends):
        queries, keys, values = _by_group(q[own], k.shape[1]), k[rows].transpose(0, 1), v[rows].transpose(0, 1)
        to_out = _by_group(gradient[own], k.shape[1])
        shares = _shares(queries, keys, own, scale)
        to_v.index_add_(0, rows, torch.bmm(shares.transpose(1, 2), to_out).transpose(0, 1).float())
        to_shares = torch.bmm(to_out, values.transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_shares, shares, -1, q.dtype).mul_(scale)
        to_q[own] = _by_row(torch.bmm(to_scores, keys), q)
        to_k.index_add_(0, rows, torch.bmm(to_scores.transpose(1, 2), queries).transpose(0, 1).float())
    return to_q, to_k.to(k.dtype), to_v.to(v.dtype)


_plain_attention_backward.register_fake(lambda _, *inputs: tuple(map(torch.empty_like, inputs[:3])))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return (*_plain_attention_backward(gradient, *ctx.saved_tensors, ctx.scale), None, None, None, None)


plain_attention.register_autograd(_differentiate, setup_context=_keep)


def _segments(query_ends: Tensor, key_rows: Tensor, key_ends: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Queries in blocks with the rows that they may look at. The last query of a block sees the last of its rows, so
    that little of what causality forbids is computed."""
    queries, keys = query_ends.tolist(), key_ends.tolist()
    for (start, end), (first_key, last_key) in zip(pairwise(queries), pairwise(keys), strict=True):
        for block in range(start, end, _BLOCK_QUERIES):
            stop = min(end, block + _BLOCK_QUERIES)
            yield slice(block, stop), key_rows[first_key : last_key - (end - stop)]


def _by_group(rows: Tensor, groups: int) -> Tensor:
    """``[n, H, d]`` to ``[G, (H / G) n, d]``: all queries that one head of keys serves, together."""
    length, heads, width = rows.shape
    return rows.view(length, groups, heads // groups, width).permute(1, 2, 0, 3).reshape(groups, -1, width)


def _by_row(grouped: Tensor, like: Tensor) -> Tensor:
    """The way back, to ``[n, H, d]`` with the heads of ``like``."""
    groups, (heads, width) = len(grouped), like.shape[1:]
    return grouped.view(groups, heads // groups, -1, width).permute(2, 0, 1, 3).reshape(-1, heads, width)


def _shares(queries: Tensor, keys: Tensor, own: slice, scale: float) -> Tensor:
    """``[G, R n, S]``: how much each of ``[G, R n, d]`` queries takes of each of ``[G, S, d]`` keys."""
    length, num_keys = own.stop - own.start, keys.shape[1]
    scores = torch.bmm(queries, keys.transpose(1, 2)).mul_(scale)
    # The last query sees the last key, the first all keys of the ancestors.
    later = _later(-(-num_keys // 256) * 256, scores.dtype, scores.device)[num_keys - length : num_keys, :num_keys]
    scores.view(len(keys), -1, length, num_keys).add_(later)
    return scores.softmax(-1)


@lru_cache(maxsize=4)
def _later(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``[size, size]``: minus infinity where a key (column) comes after a query (row), else zero."""
    return torch.full((size, size), -torch.inf, dtype=dtype, device=device).triu_(1)
