"""The GPUs at hand, the floating-point type that a device multiplies fast, and copies to a device."""

from __future__ import annotations

import os

import torch
from torch import Tensor

_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""Names of bfloat16 instructions in ``torch.cpu.get_capabilities``: two on x86, one on ARM."""


def visible_gpus() -> tuple[str, ...]:
    """Return a name for each GPU that this process sees, as ``CUDA_VISIBLE_DEVICES`` takes it.

    A scheduler's names (indices, UUIDs, MIG instances) are kept as they are: an index counts from the first GPU of the
    host, not from the first that is visible.
    """
    number = torch.cuda.device_count()
    inherited = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(number)) if inherited is None else map(str.strip, inherited.split(","))
    return tuple(names)[:number]  # CUDA stops at the first name of no GPU


def usable_devices() -> tuple[str, ...]:
    """Return the devices of this machine that ``model.device`` can name: ``cpu``, ``cuda:0``, ..."""
    return ("cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count())))


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16, or float32 for a CPU without bfloat16 instructions, where bfloat16 is several times as slow."""
    if device.type != "cpu":
        return torch.bfloat16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(able.get(name) for name in _BFLOAT16_INSTRUCTIONS) else torch.float32


def sent(tensor: Tensor, device: torch.device | int) -> Tensor:
    """Copy ``tensor`` to ``device``, asynchronously and from pinned memory if it goes from CPU to GPU. A number is the
    GPU of that index, as accelerate names devices."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
