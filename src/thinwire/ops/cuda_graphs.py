"""Capture a training step as a CUDA graph, so that the CPU launches it at once instead of kernel by kernel.

With a small model a step is hundreds of kernels of a few microseconds each, and a GPU waits for the CPU that launches
them. A CUDA graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) launches them all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch


class GraphPool:
    """Captures steps as CUDA graphs that share one memory pool, so only one of them may run at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._is_warm = False
        self._is_warming_up = False

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """Capture steps without launching them: within the block, calling a captured step allocates its memory but
        computes nothing. The very first step of the pool, and steps that are not graphs, still run."""
        self._is_warming_up = True
        try:
            yield
        finally:
            self._is_warming_up = False

    def captured(self, step: Callable[[], None]) -> Callable[[], None]:
        """Return a function that runs ``step`` as a CUDA graph; on other devices, ``step`` itself.

        The graph is captured at the function's first call. ``step`` must keep its inputs and outputs in the same
        tensors, allocate the same memory each time and never wait for a result. Its Python code (a counter, say) runs
        at capture only. The first call of any function of the pool runs its step uncaptured, as warm-up: what that sets
        up must serve the other steps too.
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
            if not self._is_warming_up:
                graph.replay()

        return run

    def _warm_up(self, step: Callable[[], None]) -> None:
        """Run the first step uncaptured: layers are compiled, libraries initialised and gradients allocated. It runs on
        the stream of the captures, because gradients remember the stream that they were first made on."""
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
    """Return the one stream for all captures: torch reuses memory only on the stream that allocated it."""
    return torch.cuda.Stream(device)
