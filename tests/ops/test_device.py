"""The GPUs at hand, and the floating-point type that a device multiplies fast."""

import pytest
import torch

from thinwire.ops.device import fast_dtype, visible_gpus


@pytest.mark.parametrize(
    ("inherited", "number", "names"),
    [
        (None, 0, ()),
        (None, 3, ("0", "1", "2")),
        ("5,2", 2, ("5", "2")),
        ("GPU-8f9a, MIG-4c1d", 2, ("GPU-8f9a", "MIG-4c1d")),
        ("3,no-gpu,4", 1, ("3",)),
        ("", 0, ()),
    ],
)
def test_gpus_keep_the_names_that_a_scheduler_gave_them(inherited, number, names, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if inherited is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    assert visible_gpus() == names


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
