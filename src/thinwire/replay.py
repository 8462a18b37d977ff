"""Doing the same step many times without the processor launching every kernel anew.

With a small model, a step is hundreds of kernels of a few microseconds each, and a GPU waits for the processor that
launches them. A CUDA graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) launches all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch


class Replayer:
    """Makes steps replayable, which then share the memory in which they compute: one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._is_warm = False
        self._rehearses = False

    @contextmanager
    def rehearsing(self) -> Iterator[None]:
        """Within the block, replayed steps take the memory that they need when called, but compute nothing. (The very
        first one does, and so do all that are no graphs.)"""
        self._rehearses = True
        try:
            yield
        finally:
            self._rehearses = False

    def replayed(self, step: Callable[[], None]) -> Callable[[], None]:
        """``step`` for calling many times: itself, or on a CUDA device a graph of it.

        ``step`` takes and leaves its values in tensors that stay where they are, allocates the same memory each time
        and never waits for a result; what it does beside its kernels (a counter in Python, say) is not done again. The
        very first call of any of the steps runs it as it is: what that sets up must serve the others too.
        """
        if self._device.type != "cuda":
            return step
        graph: torch.cuda.CUDAGraph | None = None

        def run() -> None:
            nonlocal graph
            if not self._is_warm:
                self._warm_up(step)
                return
            if graph is None:
                graph = self._capture(step)
            if not self._rehearses:
                graph.replay()

        return run

    def _warm_up(self, step: Callable[[], None]) -> None:
        """The first step, in which layers are compiled, libraries set themselves up and gradients get their tensors. It
        runs where graphs are captured, as gradients remember the stream that they were first made on."""
        self._is_warm = True
        stream, current = _side_stream(self._device), torch.cuda.current_stream(self._device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            step()
        current.wait_stream(stream)

    def _capture(self, step: Callable[[], None]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # A capture that fails can leave its own stream behind as the current one.
        unchanged = torch.cuda.stream(torch.cuda.current_stream(self._device))
        with unchanged, torch.cuda.graph(graph, pool=self._pool, stream=_side_stream(self._device)):
            step()
        return graph


@lru_cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all: memory that was used on a stream is used again on that stream alone."""
    return torch.cuda.Stream(device)
