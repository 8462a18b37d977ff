"""Whether training uses CUDA graphs, and the largest micro-batch that fits the memory of a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from thinwire.errors import UsageError
from thinwire.model.language_model import LanguageModel
from thinwire.model.memory import MIN_TOKENS, leaves_a_gpu_idle, logger
from thinwire.ops.segment_attention import is_flash

Result = TypeVar("Result")

_ANSWERING_SHARE = 0.06
"""Part of all memory that training leaves free for answering the selection questions."""


def uses_cuda_graphs(lm: LanguageModel, setting: bool | str) -> bool:
    """Resolve ``model.cuda_graphs``: return whether training micro-batches run as CUDA graphs.

    Raises:
        UsageError: ``setting`` is True, but they cannot.
    """
    # Attention block by block copies the blocks' boundaries to the CPU, which a graph cannot do.
    can = lm.has_fixed_steps and is_flash(lm.device, lm.dtype)
    if setting is True and not can:
        raise UsageError(
            "model.cuda_graphs=true needs a CUDA device, and a model in bfloat16 that packs prompts, is not quantised "
            "(model.base_bits) and whose rotary embeddings do not change with the length; leave it at auto"
        )
    return can and leaves_a_gpu_idle(lm) if setting == "auto" else bool(setting)


def is_tried(device: torch.device, setting: int | str) -> bool:
    """Return whether the size of micro-batches is tried before training: on a GPU, where running out of memory can be
    caught, if the user has not set the size."""
    return setting == "auto" and device.type == "cuda"


@contextmanager
def held_back(device: torch.device, trained_bytes: int) -> Iterator[None]:
    """Reserve, within the block, the memory that training needs beside the micro-batches that are tried in it: the
    optimiser's two moments, a copy of the best epoch, and keys and values for answering between epochs."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        taken = torch.empty(3 * trained_bytes + int(_ANSWERING_SHARE * total), dtype=torch.uint8, device=device)
        yield
        del taken
    else:
        yield


def halved_until_it_fits(tokens: int, attempt: Callable[[int], Result]) -> Result:
    """Return ``attempt(tokens)``; halve ``tokens`` as often as the device runs out of memory.

    Raises:
        torch.OutOfMemoryError: ``MIN_TOKENS`` do not fit either.
    """
    while True:
        try:
            return attempt(tokens)
        except torch.OutOfMemoryError:
            if tokens <= MIN_TOKENS:
                raise
        # Only outside the handler is the exception gone, whose frames hold tensors.
        tokens = max(MIN_TOKENS, tokens // 2)
        logger.info("micro-batches do not fit the device's memory; trying %d tokens of each arm", tokens)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
