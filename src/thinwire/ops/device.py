"""The floating-point type that a device multiplies fast, and copies to a device."""

from __future__ import annotations

import torch
from torch import Tensor

_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""Names of bfloat16 instructions in ``torch.cpu.get_capabilities``: two on x86, one on ARM."""


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16, or float32 for a CPU without bfloat16 instructions, where bfloat16 is several times as slow."""
    if device.type != "cpu":
        return torch.bfloat16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(able.get(name) for name in _BFLOAT16_INSTRUCTIONS) else torch.float32


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy ``tensor`` to ``device``, asynchronously and from pinned memory if it goes from CPU to GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
