"""Imitates CUDA graphs on a CPU: records the operations of a step, and runs them again without its Python code."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode  # torch has no public hook for operations
from torch.utils._pytree import tree_iter  # torch has no public function for it

from thinwire.model import language_model
from thinwire.ops import segment_attention
from thinwire.ops.block_attention import AttentionBlocks, attention_by_block, attention_by_block_backward, blocks_of
from thinwire.ops.gather import inverse_index_of
from thinwire.ops.packing import Segments


class Recording(TorchDispatchMode):
    """Records the operations of a block, with their input and output tensors.

    Fails if Python reads a number from a tensor, as the capture of a CUDA graph would.
    """

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Callable, tuple, dict, object]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "a captured step reads a number from a tensor"
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view:
            self._operations.append((func, args, kwargs, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        """Run the same operations on the same tensors, with their present values."""
        for func, args, kwargs, out in self._operations:
            result = func(*args, **kwargs)
            if not func._schema.is_mutable:  # there is no public way to ask
                for kept, new in zip(tree_iter(out), tree_iter(result), strict=True):
                    if isinstance(kept, torch.Tensor):
                        kept.data.copy_(new)


def recorded(pool: object, step: Callable[[], None]) -> Callable[[], None]:
    """Replace ``GraphPool.captured``, with its behaviour on a GPU: the pool's very first call runs its step uncaptured;
    after that, the first call of each step records it, and later calls run the recording."""
    recording: Recording | None = None

    def run() -> None:
        nonlocal recording
        if not getattr(pool, "is_warm", False):
            pool.is_warm = True
            step()
        elif recording is None:
            recording = Recording()
            with recording:
                step()
        else:
            recording.replay()

    return run


def attend_as_on_a_gpu(monkeypatch: Any) -> None:
    """Use the code path of flash attention, which takes sequence boundaries as tensors, with a CPU kernel that does the
    same."""
    monkeypatch.setattr(language_model, "packed_arguments", lambda segments, dtype, **_: {"segments": segments})
    monkeypatch.setattr(segment_attention, "varlen_attn", _varlen_attn)


def _varlen_attn(q, k, v, query_ends, key_ends, longest_query, longest_key, *, scale, window_size, **_):
    """Torch's ``varlen_attn``, as far as it is used."""
    assert window_size == (-1, 0), "causal"
    return _varlen(scale * q, k, v, query_ends, key_ends, longest_query, longest_key)


@torch.library.custom_op("thinwire_tests::varlen", mutates_args=())
def _varlen(
    q: Tensor, k: Tensor, v: Tensor, query_ends: Tensor, key_ends: Tensor, longest_query: int, longest_key: int
) -> Tensor:
    assert int(query_ends.diff().max()) <= longest_query
    assert int(key_ends.diff().max()) <= longest_key
    blocks = _blocks(k, query_ends, key_ends)
    return attention_by_block(q, k[blocks.key_rows], v[blocks.key_rows], *blocks.places, 0)[0]


@torch.library.custom_op("thinwire_tests::varlen_backward", mutates_args=())
def _varlen_backward(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, query_ends: Tensor, key_ends: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    blocks = _blocks(k, query_ends, key_ends)
    keys, values = k[blocks.key_rows], v[blocks.key_rows]
    to_q, *to_keys = attention_by_block_backward(gradient, q, keys, values, q.new_empty(0), *blocks.places)
    to_k, to_v = (torch.zeros_like(k).index_add_(0, blocks.key_rows, to) for to in to_keys)
    return to_q, to_k, to_v


_varlen.register_autograd(
    lambda ctx, gradient: (*_varlen_backward(gradient.contiguous(), *ctx.saved_tensors), None, None, None, None),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[:5]),
)


def _blocks(k: Tensor, query_ends: Tensor, key_ends: Tensor) -> AttentionBlocks:
    """Cut packed sequences into blocks; their keys are gathered already."""
    own = Segments(
        query_ends=query_ends,
        key_rows=torch.arange(len(k)),
        key_ends=key_ends,
        inverse_index=inverse_index_of(np.arange(len(k))),
        longest_query=0,
        longest_key=0,
        key_room=0,
    )
    return blocks_of(own)
