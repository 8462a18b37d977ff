"""Attention over packed segments, and over a cache, as an attention function of transformers.

Every segment's queries attend to the rows of its ancestors and, causally, to its own: see ``packing``. On CUDA this is
flash attention over sequences of unequal lengths (Dao 2023, arXiv:2307.08691), on the gathered keys. Elsewhere it is
the plain formula, block by block: see ``plain_attention``.
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
from thinwire.gathering import gathered
from thinwire.packing import Segments
from thinwire.plain_attention import Blocks, blocks_of, plain_attention

_NAME = "thinwire_segments"
_GROUPED_HEADS: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}
"""Newer releases want to be told that keys may have fewer heads than queries; older ones just take them."""


@contextmanager
def exchanged(model: Any) -> Iterator[None]:
    """Make ``model`` attend by this module, for the length of the block. Its forward call then takes either of

    - ``segments`` or ``blocks`` (``packed_arguments``): packed sequences, as training and reading prompts have them;
    - ``key_masks``, for some neighbouring sequences after the others ``[b, s]`` bool: one more token of each sequence,
      over those of its last ``s`` keys that are true.

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


def is_flash(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether packed sequences are read by flash attention, or else block by block."""
    return device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)


def packed_arguments(segments: Segments, dtype: torch.dtype) -> dict[str, Any]:
    """What a model whose attention is exchanged is to be told of ``segments``: themselves, or their blocks.

    Args:
        segments: where the model is.
        dtype: the model's.
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
    blocks: Blocks | None = None,
    key_masks: Sequence[Tensor] = (),
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Transformers' contract: ``[A, H, T, d]`` queries, ``[A, G, S, d]`` keys and values to ``[A, T, H, d]``."""
    packed = segments or blocks
    _refuse_what_is_not_plain(key.shape[2] if packed is None else packed.longest_key, **others)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if packed is None:
        assert key_masks, "over a cache, there are masks"
        return _next_tokens(query, key, value, key_masks, scale), None
    q, k, v = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
    if segments is not None:
        out = _flash(q, k, v, segments, scale)
    else:
        assert blocks is not None
        out = plain_attention(q, k, v, blocks, scale)
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


def _next_tokens(query: Tensor, key: Tensor, value: Tensor, key_masks: Sequence[Tensor], scale: float) -> Tensor:
    """One query a sequence: keys that the longest prompts alone have are not looked at for others."""
    numbers, outs = [len(mask) for mask in key_masks], []
    parts = (tensor.split(numbers) for tensor in (query, key, value))
    for mask, queries, keys, values in zip(key_masks, *parts, strict=True):
        first = keys.shape[2] - mask.shape[1]
        outs.append(_next_token(queries, keys[:, :, first:], values[:, :, first:], mask, scale))
    return torch.cat(outs) if len(outs) > 1 else outs[0]


def _next_token(query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor, scale: float) -> Tensor:
    """Each key is read once for all the heads that share it, and is never copied."""
    batch, heads, _, width = query.shape
    grouped = query.view(batch, key.shape[1], -1, width)
    scores = (grouped @ key.transpose(2, 3)).mul_(scale).masked_fill_(~key_mask[:, None, None], -torch.inf)
    return (scores.softmax(-1) @ value).view(batch, 1, heads, width)


def _flash(q: Tensor, k: Tensor, v: Tensor, segments: Segments, scale: float) -> Tensor:
    """``[T, H, d]`` queries against ``[T, G, d]`` keys and values."""
    out = varlen_attn(
        q,
        gathered(k, segments.key_rows, segments.readers),
        gathered(v, segments.key_rows, segments.readers),
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
