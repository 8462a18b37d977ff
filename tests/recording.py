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


def recorded(_, step: Callable[[], None]) -> Callable[[], None]:
    """In place of ``Replayer.replayed``: ``step`` is run, then recorded, then replayed, as on a GPU."""
    calls: list[Recording | None] = []

    def again() -> None:
        if not calls:
            calls.append(None)
            step()
        elif len(calls) == 1:
            calls.append(Recording())
            with calls[1]:
                step()
        else:
            calls[1].replay()
            calls.append(None)

    return again
