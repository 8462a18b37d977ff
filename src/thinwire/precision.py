"""Types of floating-point numbers: which of them a device multiplies fast."""

from __future__ import annotations

import torch

_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")
"""Names that ``torch.cpu.get_capabilities`` has for them: two on x86, one on ARM."""


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16, but float32 on a processor without instructions for bfloat16, which is several times as slow in it."""
    if device.type != "cpu":
        return torch.bfloat16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(able.get(name) for name in _BFLOAT16_INSTRUCTIONS) else torch.float32
