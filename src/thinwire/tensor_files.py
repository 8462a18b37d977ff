"""Write tensors to safetensors files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from thinwire.files import write_bytes


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors, on any device, to a safetensors file, atomically (``files.replacing``).

    Raises:
        StorageError: it cannot be written; an earlier file is kept.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(on_cpu, dict(metadata) if metadata else None))
