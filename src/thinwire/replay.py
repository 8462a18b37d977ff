"""Doing the same step many times without the processor launching every kernel anew.

With a small model, a step is hundreds of kernels of a few microseconds each, and a GPU waits for the processor that
launches them. A CUDA graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) launches all at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch


class Replayer:
    """Makes steps replayable, which then share the memory in which they compute: one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def replayed(self, step: Callable[[], None]) -> Callable[[], None]:
        """``step`` for calling many times: itself, or on a CUDA device a graph of it from the second call on.

        ``step`` takes and leaves its values in tensors that stay where they are, allocates the same memory each time
        and never waits for a result; what it does beside its kernels (a counter in Python, say) is not done again.
        """
        return _Replayed(step, self) if self.device.type == "cuda" else step


class _Replayed:
    def __init__(self, step: Callable[[], None], replayer: Replayer) -> None:
        self._step, self._device, self._pool = step, replayer.device, replayer.pool
        self._is_warm = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if not self._is_warm:
            self._warm_up()
            return
        if self._graph is None:
            self._graph = self._capture()
        self._graph.replay()

    def _warm_up(self) -> None:
        """The first step, in which libraries set themselves up and an optimiser makes its state. It runs where the
        graph is captured, as gradients remember the stream that they were first made on."""
        self._is_warm = True
        stream, current = _side_stream(self._device), torch.cuda.current_stream(self._device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            self._step()
        current.wait_stream(stream)

    def _capture(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # A capture that fails can leave its own stream behind as the current one.
        unchanged = torch.cuda.stream(torch.cuda.current_stream(self._device))
        with unchanged, torch.cuda.graph(graph, pool=self._pool, stream=_side_stream(self._device)):
            self._step()
        return graph


@lru_cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all: memory that was used on a stream is used again on that stream alone."""
    return torch.cuda.Stream(device)
