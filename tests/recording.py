"""A CUDA graph's rules, on a CPU: a step is recorded kernel by kernel, and done again without its Python."""

from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


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
