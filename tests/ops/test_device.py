"""The floating-point type that a device multiplies fast."""

import pytest
import torch

from thinwire.ops.device import fast_dtype


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16", "bf16"])
def test_a_cpu_is_fast_in_bfloat16_only_with_instructions_for_it(instructions, monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "any", instructions: True})
    assert fast_dtype(cpu) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "any", instructions: False})
    assert fast_dtype(cpu) == torch.float32


def test_a_gpu_is_fast_in_bfloat16():
    assert fast_dtype(torch.device("cuda")) == torch.bfloat16


def test_torch_reports_the_instructions_by_these_names():
    able = torch.cpu.get_capabilities()
    known = {"x86_64": {"avx512_bf16", "amx_bf16"}, "aarch64": {"bf16"}}
    assert known.get(able["architecture"], set()) <= set(able)
