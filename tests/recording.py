"""A CUDA graph's rules, on a CPU: a step is recorded kernel by kernel, and done again without its Python."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from thinwire import attention, model
from thinwire.gathering import readers_of
from thinwire.packing import Segments
from thinwire.plain_attention import Blocks, _by_block, _by_block_backward, blocks_of


class Recording(TorchDispatchMode):
    """Records the operations of a block with the tensors that they read and write. Where a graph could not be captured,
    for a number is read from a tensor, so that Python could act on it, it fails."""

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Callable, tuple, dict, object]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "a step that is captured reads a number"
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view:
            self._operations.append((func, args, kwargs, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        """The same operations on the same tensors, whatever these hold by now."""
        for func, args, kwargs, out in self._operations:
            again = func(*args, **kwargs)
            if not func._schema.is_mutable:
                for kept, new in zip(tree_iter(out), tree_iter(again), strict=True):
                    if isinstance(kept, torch.Tensor):
                        kept.data.copy_(new)


def recorded(replayer: object, step: Callable[[], None]) -> Callable[[], None]:
    """In place of ``Replayer.replayed``, as on a GPU: the first of all calls runs its step; after it, the first call of
    each step records it, and the others replay it."""
    recording: Recording | None = None

    def again() -> None:
        nonlocal recording
        if not getattr(replayer, "is_warm", False):
            replayer.is_warm = True
            step()
        elif recording is None:
            recording = Recording()
            with recording:
                step()
        else:
            recording.replay()

    return again


def attend_as_on_a_gpu(monkeypatch: Any) -> None:
    """Have models go the way of flash attention, whose kernels find out from tensors where a sequence ends, with a
    kernel that does the same on a CPU."""
    monkeypatch.setattr(model, "packed_arguments", lambda segments, dtype, **_: {"segments": segments})
    monkeypatch.setattr(attention, "varlen_attn", _varlen_attn)


def _varlen_attn(q, k, v, query_ends, key_ends, longest_query, longest_key, *, scale, window_size, **_):
    """torch's, as far as it is used."""
    assert window_size == (-1, 0), "causal"
    return _varlen(scale * q, k, v, query_ends, key_ends, longest_query, longest_key)


@torch.library.custom_op("thinwire_tests::varlen", mutates_args=())
def _varlen(
    q: Tensor, k: Tensor, v: Tensor, query_ends: Tensor, key_ends: Tensor, longest_query: int, longest_key: int
) -> Tensor:
    assert int(query_ends.diff().max()) <= longest_query
    assert int(key_ends.diff().max()) <= longest_key
    blocks = _blocks(k, query_ends, key_ends)
    return _by_block(q, k[blocks.key_rows], v[blocks.key_rows], *blocks.places, 0)[0]


@torch.library.custom_op("thinwire_tests::varlen_backward", mutates_args=())
def _varlen_backward(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, query_ends: Tensor, key_ends: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    blocks = _blocks(k, query_ends, key_ends)
    keys, values = k[blocks.key_rows], v[blocks.key_rows]
    to_q, *to_keys = _by_block_backward(gradient, q, keys, values, q.new_empty(0), *blocks.places)
    to_k, to_v = (torch.zeros_like(k).index_add_(0, blocks.key_rows, to) for to in to_keys)
    return to_q, to_k, to_v


_varlen.register_autograd(
    lambda ctx, gradient: (*_varlen_backward(gradient.contiguous(), *ctx.saved_tensors), None, None, None, None),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[:5]),
)


def _blocks(k: Tensor, query_ends: Tensor, key_ends: Tensor) -> Blocks:
    """Keys are gathered already: every sequence has its own."""
    own = Segments(
        query_ends=query_ends,
        key_rows=torch.arange(len(k)),
        key_ends=key_ends,
        readers=readers_of(np.arange(len(k))),
        longest_query=0,
        longest_key=0,
        key_room=0,
    )
    return blocks_of(own)
