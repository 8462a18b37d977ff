"""What a device can take: tokens in a pass, by the memory that is free; and what leaves a GPU idle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psutil
import torch

from thinwire.attention import is_flash
from thinwire.errors import UsageError
from thinwire.model import LanguageModel
from thinwire.plain_attention import MOST_KEPT_KEYS

logger = logging.getLogger(__name__)

Made = TypeVar("Made")

_SHARE = 0.6
"""Part of the free memory that a pass may take: the estimates are rough, and the optimiser needs some too."""

_ANSWERING_SHARE = 0.06
"""Part of all memory that training leaves for answering the selection questions."""

_SMALL_PARAMETERS = 1e9
"""Below this, the questions of one step are too few to fill a GPU: arms train together, and passes are graphs."""

_LEAST_TOKENS = 256

_PROCESS_FLOPS = 2.4e13
"""Arithmetic of training for which another process pays: until it trains, it takes a minute of a core, for importing,
loading and compiling (docs/performance.md)."""

_PROCESS_BYTES = 2**30
"""What a process takes beside its model and its passes: Python, torch, compiled code."""

_PROCESS_TOKENS = 2_048
"""Tokens of a pass that a process ought to have memory for: one of four times as many is hardly faster."""

MOST_FUSED = 16
"""Arms that train together where a step alone does not fill a GPU."""


def fused_arms(lm: LanguageModel, setting: int | str) -> int:
    """Most arms that train together, ``auto`` resolved."""
    if isinstance(setting, int):
        return setting
    return MOST_FUSED if _leaves_a_gpu_idle(lm) else 1


def check_processes(device: torch.device, setting: int | str) -> None:
    """Refuse several processes where arms do not run side by side.

    Raises:
        UsageError: ``device`` is no CPU.
    """
    if device.type != "cpu" and setting not in ("auto", 1):
        raise UsageError(
            f"processes={setting} is for arms on a CPU; on {device} they train together (fused_arms) "
            "or one after the other: leave it at auto"
        )


def arm_processes(lm: LanguageModel, setting: int | str, *, num_groups: int, num_tokens: int) -> int:
    """Processes that run ``num_groups`` groups of arms, ``auto`` resolved: on a processor, as many as have a core,
    memory and enough to do, where all arms together train on ``num_tokens`` tokens.

    Raises:
        UsageError: several are asked for on another device.
    """
    check_processes(lm.device, setting)
    if lm.device.type != "cpu":
        return 1
    if isinstance(setting, int):
        return min(setting, num_groups)
    size = sum(parameter.numel() for parameter in lm.model.parameters())
    taken = size * lm.dtype.itemsize + _PROCESS_TOKENS * _training_bytes(lm, compiled=False) + _PROCESS_BYTES
    fit, pay = int(_SHARE * free_memory(lm.device) / taken), int(4.0 * size * num_tokens / _PROCESS_FLOPS)
    return max(1, min(num_groups, torch.get_num_threads(), fit, pay))


def replays_passes(lm: LanguageModel, setting: bool | str) -> bool:
    """Whether training passes are CUDA graphs, ``auto`` resolved.

    Raises:
        UsageError: they are asked for and cannot be.
    """
    # Attention block by block waits to know where the blocks end.
    can = lm.has_fixed_steps and is_flash(lm.device, lm.dtype)
    if setting is True and not can:
        raise UsageError(
            "model.cuda_graphs=true needs a CUDA device, and a model in bfloat16 that is not quantised "
            "(model.base_bits) and whose rotary embeddings do not change with the length; leave it at auto"
        )
    return can and _leaves_a_gpu_idle(lm) if setting == "auto" else bool(setting)


def _leaves_a_gpu_idle(lm: LanguageModel) -> bool:
    small = sum(parameter.numel() for parameter in lm.model.parameters()) < _SMALL_PARAMETERS
    return small and lm.device.type == "cuda"


def training_pass_tokens(lm: LanguageModel, setting: int | str, *, compiled: bool, share: float = 1.0) -> int:
    """Tokens in one training pass, those of all arms that train together counted, ``auto`` resolved for a process that
    may take this ``share`` of the free memory."""
    return _resolve(lm, setting, _training_bytes(lm, compiled=compiled), {"cuda": 524_288, "cpu": 8_192}, share)


def _training_bytes(lm: LanguageModel, *, compiled: bool) -> float:
    """Memory that a training pass takes for each token.

    The estimate counts what a decoder layer keeps for its backward pass, per token: 14 activations of the hidden width
    and 3 of the MLP's width. That is the measured peak of models of 576 and of 4,096 numbers with LoRA on attention, in
    bfloat16, not compiled; compiled layers keep three quarters of it. Beside them, attention block by block keeps its
    shares, of as many keys as there can be. LoRA on more modules takes more: on a GPU the number is tried before
    training (``halved_until_it_fits``).
    """
    config = lm.model.config.get_text_config()
    mlp_width = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    numbers = (0.75 if compiled else 1.0) * (14 * config.hidden_size + 3 * mlp_width)
    if not is_flash(lm.device, lm.dtype):
        numbers += lm.num_heads * MOST_KEPT_KEYS
    return float(lm.dtype.itemsize * lm.num_layers * numbers)


def is_tried(device: torch.device, setting: int | str) -> bool:
    """Whether the size of a pass is tried before training: where running out of memory is an error that can be caught,
    and nobody has set the size."""
    return setting == "auto" and device.type == "cuda"


@contextmanager
def held_back(device: torch.device, trained_bytes: int) -> Iterator[None]:
    """While passes are tried, take the memory that training needs beside them: the optimiser's two moments, a copy of
    the best epoch, and keys and values for answering between epochs."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        taken = torch.empty(3 * trained_bytes + int(_ANSWERING_SHARE * total), dtype=torch.uint8, device=device)
        yield
        del taken
    else:
        yield


def halved_until_it_fits(tokens: int, attempt: Callable[[int], Made]) -> Made:
    """``attempt(tokens)``, or as often as the device's memory does not suffice, with half as many.

    Raises:
        torch.OutOfMemoryError: the smallest pass does not fit either.
    """
    while True:
        try:
            return attempt(tokens)
        except torch.OutOfMemoryError:
            if tokens <= _LEAST_TOKENS:
                raise
        # Only here, the exception gone, is nothing held any more by the frames in which it was raised.
        tokens = max(_LEAST_TOKENS, tokens // 2)
        logger.info("passes do not fit the device's memory; trying %d tokens of each arm", tokens)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def decoding_pass_tokens(lm: LanguageModel, setting: int | str, share: float = 1.0) -> int:
    """Padded tokens in one batch of decoding, ``auto`` resolved for a process that may take this ``share`` of the free
    memory: keys and values of all layers, twice for the moment in which finished rows leave."""
    config = lm.model.config.get_text_config()
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bytes_per_token = 2 * 2 * lm.dtype.itemsize * lm.num_layers * lm.num_key_heads * head_dim
    return _resolve(lm, setting, bytes_per_token, {"cuda": 1_048_576, "cpu": 32_768}, share)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on ``device``."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what torch holds in reserve from earlier passes is free as well
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)  # files that the system keeps in memory can go


def _resolve(lm: LanguageModel, setting: int | str, bytes_per_token: float, most: dict[str, int], share: float) -> int:
    if isinstance(setting, int):
        return setting
    kind = "cuda" if lm.device.type == "cuda" else "cpu"
    return max(_LEAST_TOKENS, min(most[kind], int(share * _SHARE * free_memory(lm.device) / bytes_per_token)))
