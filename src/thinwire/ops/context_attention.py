"""Attention in both directions within contexts that lie one after the other, also as an attention function of
transformers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from thinwire.ops.segment_attention import GROUPED_HEADS, is_flash

_NAME = "thinwire_contexts"


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """``T`` tokens of contexts that lie one after the other."""

    ends: Tensor
    """``[N + 1]`` int32: where each context begins, then as often as needed where the last one ends. Its length does
    not depend on the number of contexts, as CUDA graphs need."""
    places: Tensor
    """``[T]`` int64: each token's place in its context."""
    longest: int
    """At least as many tokens as a context has."""


def contexts_of(numbers: Tensor, places: Tensor, size: int, longest: int) -> Contexts:
    """Return the contexts of ``N`` blocks of ``size`` tokens.

    Args:
        numbers: ``[N]`` int64: the number of each block's context, those of a context together; -1 for one alone.
        places: ``[N]`` int64: the place of each block in its context.
        longest: at least as many blocks as a context has.
    """
    begins = torch.ones_like(numbers, dtype=torch.bool)
    begins[1:] = (numbers[1:] != numbers[:-1]) | (numbers[1:] < 0)
    starts = size * torch.arange(len(numbers), device=numbers.device, dtype=torch.int32)
    ends = torch.full((len(numbers) + 1,), size * len(numbers), device=numbers.device, dtype=torch.int32)
    ends.scatter_reduce_(0, begins.cumsum(0) - 1, starts, "amin")
    inside = torch.arange(size, device=places.device)
    return Contexts(ends=ends, places=(places[:, None] * size + inside).flatten(), longest=size * longest)


def context_attention(q: Tensor, k: Tensor, v: Tensor, contexts: Contexts, scale: float) -> Tensor:
    """Attend from ``[T, H, d]`` queries to the ``[T, G, d]`` keys and values of their context; returns ``[T, H, d]``.

    On CUDA in bfloat16 or float16 this is flash attention over sequences of unequal lengths, otherwise torch's own,
    context by context.
    """
    if is_flash(q.device, v.dtype):
        ends, longest = contexts.ends, contexts.longest
        out = varlen_attn(q, k, v, ends, ends, longest, longest, scale=scale, window_size=(-1, -1), **GROUPED_HEADS)
        assert isinstance(out, Tensor), "no auxiliary output was asked for"
        return out
    parts = [q[:0]]
    for start, stop in pairwise(contexts.ends.unique().tolist()):
        queries, keys, values = (rows[start:stop].transpose(0, 1) for rows in (q, k, v))
        part = nn.functional.scaled_dot_product_attention(
            queries, keys, values, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
        parts.append(part.transpose(0, 1))
    return torch.cat(parts)


def reads_both_ways(decoder: Any) -> None:
    """Give ``decoder``, of transformers, attention in both directions for good. Its forward call then takes
    ``contexts``. Sliding windows have no effect, nor has anything that packed sequences cannot have
    (``segment_attention``)."""
    AttentionInterface.register(_NAME, _attend)
    decoder.set_attn_implementation(_NAME)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    contexts: Contexts,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend from ``[1, H, T, d]`` queries to ``[1, G, T, d]`` keys and values; returns ``[1, T, H, d]`` and None, as
    transformers expects. Autocasting leaves queries and keys wider than values, as rotary positions are float32."""
    q, k, v = (tensor[0].transpose(0, 1).to(value.dtype) for tensor in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return context_attention(q, k, v, contexts, scale)[None], None
