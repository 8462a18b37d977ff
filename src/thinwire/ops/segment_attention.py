"""Attention over packed segments, and over a KV cache, as an attention function of transformers.

Each segment's queries attend to the rows of its ancestors and, causally, to its own (``ops/packing.py``). On CUDA in
bfloat16 or float16 this is flash attention over sequences of unequal lengths (Dao 2023, arXiv:2307.08691), on gathered
keys; otherwise it is exact attention, block by block (``plain_attention``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from thinwire.errors import UsageError
from thinwire.ops.block_attention import AttentionBlocks, blocks_of, plain_attention
from thinwire.ops.gather import gathered
from thinwire.ops.packing import Segments

_NAME = "thinwire_segments"
_WITHOUT_EFFECT = frozenset(
    {"dropout", "position_ids", "position_embeddings", "cache_position", "use_cache", "output_attentions", "is_causal"}
)
"""Arguments that models hand on to attention and that change nothing here: dropout is off in evaluation mode."""
GROUPED_HEADS: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}
"""Newer releases of torch need this argument if keys have fewer heads than queries; older ones do not have it."""


@contextmanager
def patched_attention(model: Any) -> Iterator[None]:
    """Replace the attention of ``model`` by this module's within the block. The model's forward call then takes either

    - ``segments`` or ``blocks`` (``packed_arguments``): packed sequences, as in training and prefill;
    - ``key_masks``: the next token of each sequence, over cached keys. One mask ``[b, s]`` bool for each run of ``b``
      neighbouring sequences: which of their last ``s`` keys they attend to.

    Raises:
        UsageError: the model's attention cannot be replaced.
    """
    # Transformers has a public setter of the implementation, but no public getter.
    before = model.config._attn_implementation
    if before == _NAME:
        yield
        return
    AttentionInterface.register(_NAME, _attend)
    model.set_attn_implementation(_NAME)
    if model.config._attn_implementation != _NAME:
        raise UsageError(
            f"{type(model).__name__} does not let its attention be replaced (transformers' AttentionInterface), "
            "which packed sequences need"
        )
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def is_flash(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether attention over packed sequences is flash attention (else it is block by block)."""
    return device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)


def packed_arguments(segments: Segments, dtype: torch.dtype) -> dict[str, Any]:
    """Return the keyword arguments that pass ``segments`` to a model with patched attention.

    Args:
        segments: on the model's device.
        dtype: the model's dtype.
    """
    if is_flash(segments.query_ends.device, dtype):
        return {"segments": segments}
    return {"blocks": blocks_of(segments)}


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segments: Segments | None = None,
    blocks: AttentionBlocks | None = None,
    key_masks: Sequence[Tensor] = (),
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend from ``[A, H, T, d]`` queries to ``[A, G, S, d]`` keys and values; returns ``[A, T, H, d]`` and None, as
    transformers expects."""
    packed = segments or blocks
    _refuse_unsupported(key.shape[2] if packed is None else packed.longest_key, **others)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if packed is None:
        if not key_masks:
            raise UsageError(
                f"{type(module).__name__} does not pass a model's extra arguments on to attention, which packed "
                "sequences need"
            )
        return _next_tokens(query, key, value, key_masks, scale), None
    q, k, v = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
    if segments is not None:
        out = _flash(q, k, v, segments, scale)
    else:
        assert blocks is not None
        out = plain_attention(q, k, v, blocks, scale)
    return out.view(query.shape[0], query.shape[2], *out.shape[1:]), None


def _refuse_unsupported(
    longest: int, *, sliding_window: int | None = None, softcap: float | None = None, s_aux: Any = None, **others: Any
) -> None:
    """Raise ``UsageError`` if the layer's attention is not plain softmax attention over ``longest`` keys."""
    unknown = sorted(name for name, value in others.items() if value is not None and name not in _WITHOUT_EFFECT)
    if unknown:
        raise UsageError(f"the model's attention takes {', '.join(unknown)}, which packed sequences cannot have yet")
    if sliding_window is not None and sliding_window < longest:
        raise UsageError(
            f"the model attends to the last {sliding_window} tokens alone, but a prompt has {longest}; "
            "shorten prompts with prompt.max_tokens"
        )
    if softcap is not None or s_aux is not None:
        raise UsageError(
            "the model caps its attention scores or has attention sinks, which packed sequences cannot have yet"
        )


def _next_tokens(query: Tensor, key: Tensor, value: Tensor, key_masks: Sequence[Tensor], scale: float) -> Tensor:
    """Attend from one query of each sequence. Each run of sequences uses only as many last keys as its mask is wide."""
    sizes, outs = [len(mask) for mask in key_masks], []
    parts = (tensor.split(sizes) for tensor in (query, key, value))
    for mask, queries, keys, values in zip(key_masks, *parts, strict=True):
        first = keys.shape[2] - mask.shape[1]
        outs.append(_next_token(queries, keys[:, :, first:], values[:, :, first:], mask, scale))
    return torch.cat(outs) if len(outs) > 1 else outs[0]


def _next_token(query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, scale: float) -> Tensor:
    """Attend from one query of each sequence, without copying keys for the query heads that share them."""
    batch, heads, _, width = query.shape
    grouped = query.view(batch, key.shape[1], -1, width)
    scores = (grouped @ key.transpose(2, 3)).mul_(scale).masked_fill_(~key_mask[:, None, None], -torch.inf)
    return (scores.softmax(-1) @ value).view(batch, 1, heads, width)


def _flash(q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float) -> Tensor:
    """Attend from ``[T, H, d]`` queries to ``[T, G, d]`` keys and values by flash attention."""
    out = varlen_attn(
        q,
        gathered(k, segments.key_rows, segments.inverse_index),
        gathered(v, segments.key_rows, segments.inverse_index),
        segments.query_ends,
        segments.key_ends,
        segments.longest_query,
        segments.key_room,
        scale=scale,
        window_size=(-1, 0),  # causal, the last query aligned with the last key
        **GROUPED_HEADS,
    )
    assert isinstance(out, Tensor), "no auxiliary output was asked for"
    return out
