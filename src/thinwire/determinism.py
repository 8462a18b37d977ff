"""Seeded blocks, seeded generators and deterministic kernels."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from thinwire.seeding import derive_seed


@contextmanager
def seeded(seed: int, *names: object, devices: Sequence[torch.device]) -> Iterator[None]:
    """Run a block with torch's global generators that draws on ``devices`` use seeded for the stream ``names``; restore
    their states afterwards. Those of other devices are left alone: touching them would set up CUDA for a run on a CPU.
    """
    before, own = generator_states(devices), derive_seed(seed, *names)
    torch.default_generator.manual_seed(own)
    for device in _cuda(devices):
        with torch.cuda.device(device):
            torch.cuda.manual_seed(own)
    try:
        yield
    finally:
        restore_generators(before, devices)


def generator_states(devices: Sequence[torch.device]) -> list[Tensor]:
    """Return the states of torch's global generators that draws on ``devices`` use: the CPU's, and each CUDA
    device's."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in _cuda(devices))]


def restore_generators(states: Sequence[Tensor], devices: Sequence[torch.device]) -> None:
    """Set torch's global generators to what ``generator_states`` returned. Where a model is divided among another
    number of devices than then, the generators of those that have a state are set."""
    own, *on_device = states
    torch.set_rng_state(own)
    for state, device in zip(on_device, _cuda(devices), strict=False):
        torch.cuda.set_rng_state(state, device)


def _cuda(devices: Sequence[torch.device]) -> list[torch.device]:
    return [device for device in devices if device.type == "cuda"]


def generator(device: torch.device | str, seed: int, *names: object) -> torch.Generator:
    """Return a generator on ``device``, seeded for the stream ``names``."""
    return torch.Generator(device).manual_seed(derive_seed(seed, *names))


@contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Make torch use deterministic kernels inside the block (by default, the backward of flash attention is not)."""
    # cuBLAS reads this when its first handle is made: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    # Torch would also fill new memory, against uninitialised reads; no code here does that, and filling takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
