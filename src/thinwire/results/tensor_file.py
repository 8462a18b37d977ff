"""Files of tensors (safetensors) that carry a hash of their content, and strict reads of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from thinwire.errors import ThinwireError
from thinwire.files import write_bytes
from thinwire.regular_file import check_regular
from thinwire.results.record import damaged

_HASH = "sha256"
"""The entry of a file's metadata that holds the hash of its tensors."""

_NAMED = 4
"""Tensors that a message names."""


class TensorType(NamedTuple):
    """The type and the shape of a tensor, as the header of a file names them."""

    dtype: str
    """``F32``, ``F64`` or ``I64``."""
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


Layout = Mapping[str, TensorType]
"""Tensors by name."""


_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}


def layout_of(tensors: Mapping[str, Tensor]) -> Layout:
    """Return the types and shapes of ``tensors``: float32, float64 or int64."""
    return {name: TensorType(_DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items()}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write ``tensors``, on any device, with the hash of their content, atomically (``files.replacing``).

    Args:
        metadata: more entries of the file's metadata.

    Raises:
        StorageError: it cannot be written; an earlier file is kept.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, _ordered(save(held, {**(metadata or {}), _HASH: _content_hash(held)})))


def _ordered(data: bytes) -> bytes:
    """Return a safetensors file with the entries of its metadata in order, which the library writes in any: equal
    content has equal bytes. The header is 8 bytes with its length, then JSON, padded with spaces to multiples of 8."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def read_layout(path: Path, within: Path | None = None) -> dict[str, TensorType]:
    """Read the names, types and shapes in the header of a file, and no tensor.

    Args:
        within: the folder that the file must lie in after links are followed; None allows any place.

    Raises:
        ThinwireError: the file is missing, or is no whole safetensors file.
    """
    check_regular(path, within)
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
            return {name: TensorType(one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise damaged(path, f"it is no whole safetensors file ({error})") from None


def check_layout(path: Path, found: Layout, expected: Layout) -> None:
    """Refuse the file ``path`` if its tensors are not those expected.

    Raises:
        ThinwireError: tensors are missing, unknown, or of another type or shape; they are named.
    """
    problems = [f"{name} is missing" for name in expected if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in expected]
    both = [name for name in expected if name in found and found[name] != expected[name]]
    problems += [f"{name} is {found[name]}, expected {expected[name]}" for name in both]
    if problems:
        more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise ThinwireError(
            f"{path} does not hold the tensors that its settings need: {'; '.join(problems[:_NAMED])}{more}; "
            "put the file of these settings in its place"
        )


def read_tensors(
    path: Path, expected: Layout, within: Path | None = None, *, needs_hash: bool = False
) -> dict[str, Tensor]:
    """Read what ``write_tensors`` wrote, onto the CPU.

    Args:
        expected: the tensors that the file must hold, checked before any is read.
        within: as in ``read_layout``.
        needs_hash: whether a file of an earlier version, which carries no hash, is refused.

    Raises:
        ThinwireError: it is missing, no whole safetensors file, holds other tensors, or numbers that are not finite,
            or its content does not have the hash that it was written with.
    """
    check_layout(path, read_layout(path, within), expected)
    try:
        with safe_open(path, framework="pt") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in expected}
            written = (file.metadata() or {}).get(_HASH)
    except (SafetensorError, OSError) as error:
        raise damaged(path, f"it is no whole safetensors file ({error})") from None
    if written is None and needs_hash:
        raise damaged(path, "the hash of its tensors is missing")
    if written is not None and written != _content_hash(tensors):
        raise damaged(path, "its tensors do not have the hash that they were written with")
    if wrong := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise damaged(path, f"numbers of {', '.join(wrong[:_NAMED])} are not finite")
    return tensors


def _content_hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
