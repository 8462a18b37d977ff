"""Doing the same step many times without the processor launching every kernel anew.

With a small model, a step is hundreds of kernels of a few microseconds each, and a GPU waits for the processor that
launches them. A CUDA graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) launches all at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch


class Replayer:
    """Makes steps replayable, which then share the memory in which they compute: one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def replayed(self, step: Callable[[], None]) -> Callable[[], None]:
        """``step`` for calling many times: itself, or on a CUDA device a graph of it from the second call on.

        ``step`` takes and leaves its values in tensors that stay where they are, allocates the same memory each time
        and never waits for a result; what it does beside its kernels (a counter in Python, say) is not done again.
        """
        return _Replayed(step, self) if self._device.type == "cuda" else step


class _Replayed:
    def __init__(self, step: Callable[[], None], shared: Replayer) -> None:
        self._step, self._stream, self._pool = step, shared.stream, shared.pool
        self._is_warm = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if not self._is_warm:
            self._warm_up()
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, pool=self._pool, stream=self._stream):
                self._step()
        self._graph.replay()

    def _warm_up(self) -> None:
        """The first step, in which libraries set themselves up and an optimiser makes its state. It runs where the
        graph is captured, as gradients remember the stream that they were first made on."""
        self._is_warm = True
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._step()
        torch.cuda.current_stream().wait_stream(self._stream)
