"""Open a checkpoint folder: check its files by name and content, and show a library only those.

A checkpoint is given by others. Libraries look in its folder for many kinds of files, some of which hold code, name
code elsewhere, or are read by unpickling. ``checked_checkpoint`` makes a folder of links to the files that are known to
be data and have been checked; whatever else the checkpoint holds does not exist for a library.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from thinwire.errors import UsageError, foreign
from thinwire.model.safe_json import LARGEST_SETTINGS, LARGEST_VOCABULARY, check_regular, read_object

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER = "tokenizer.json"
SETTINGS = ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Optional JSON objects."""
VOCABULARIES = (TOKENIZER, "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "tekken.json")
"""Files of which a tokenizer has at least one."""
TEMPLATE = "chat_template.jinja"
SMALL_FILES = (CONFIG, *SETTINGS, *VOCABULARIES, TEMPLATE)

_CODE = ("auto_map", "custom_pipelines")
"""Keys that name Python files to be run."""
_KERNELS = ("kernel_config", "kernels", "use_kernels")
"""Keys that name compiled code to be fetched."""
_IMPLEMENTATIONS = ("attn_implementation", "experts_implementation")
"""Keys that choose among implementations, each also written with an underscore before and ``_internal`` after it."""
_BUILT_IN = (
    None,
    "eager",
    "sdpa",
    "flash_attention_2",
    "flash_attention_3",
    "flex_attention",
    "grouped_mm",
    "batched_mm",
)
_RETURNED = ("return_dict", "use_return_dict", "output_hidden_states", "output_attentions")
_QUANTISATION = ("quantization_config", "compression_config")
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack", "*.npz", "*.gguf", "*.onnx")
_COUNT = re.compile("^(num|n)_(?!positions|ctx|embd|inner|vocab)")
_MOST_MODULES = 10_000
"""Largest count of layers, heads, labels or the like in a configuration; beyond all models in use."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose files have been checked."""

    folder: Path
    """Holds links to the files of the checkpoint that a library may read, and nothing else."""
    shapes: dict[str, tuple[int, ...]]
    """Names and shapes of the tensors in its weights."""

    @property
    def num_numbers(self) -> int:
        """The count of all numbers in its weights."""
        return sum(map(prod, self.shapes.values()))


@contextmanager
def checked_checkpoint(folder: Path, name: str) -> Iterator[Checkpoint]:
    """Check the checkpoint in ``folder``, and make the folder of links for the time of the block.

    Args:
        name: the model's name in messages.

    Raises:
        UsageError: a file is missing, damaged, or asks for what is never done: running code of the model's, unpickling,
            reading beyond the folder.
    """
    with tempfile.TemporaryDirectory(prefix="thinwire.") as made:
        shown = Path(made)
        where = f"model {name}: "
        config = _settings(folder, CONFIG, where)
        _refuse_adapters(folder, where)
        check_counts(config, where + CONFIG)
        _write(shown / CONFIG, _without_implementations(config))
        for file in SETTINGS:
            if _exists(folder / file):
                _write(shown / file, _settings(folder, file, where))
        for file in (*VOCABULARIES, TEMPLATE):
            if _exists(folder / file):
                path = _own(folder, file, where)
                largest = LARGEST_SETTINGS if file == TEMPLATE else LARGEST_VOCABULARY
                if (size := check_regular(path, where + file)) > largest:
                    raise UsageError(f"{where}{file} has {size:,} bytes, more than the {largest:,} that it may have")
                (shown / file).symlink_to(path)
        if not any((shown / file).exists() for file in VOCABULARIES):
            raise UsageError(f"{where}the folder has no tokenizer ({TOKENIZER}); add the model's own")
        yield Checkpoint(folder=shown, shapes=_weights(folder, shown, where))


def _settings(folder: Path, file: str, where: str) -> dict[str, Any]:
    found = read_object(_own(folder, file, where), where + file)
    with foreign(f"{where}{file} cannot be checked"):  # it may be nested deeper than calls may be
        check_settings(found, where + file)
    return found


def check_settings(found: Any, what: str) -> None:
    """Refuse settings, at any depth, that name code, kernels to be fetched, or a quantisation.

    Raises:
        UsageError: there is one; the message names it.
    """
    if isinstance(found, list):
        for value in found:
            check_settings(value, what)
    if not isinstance(found, dict):
        return
    for key, value in found.items():
        if value in (None, {}, []) or value is False:
            continue
        if key in _CODE:
            raise UsageError(
                f"{what} has {key}: the model brings code of its own ({_short(value)}), which is never run; use a "
                f"model that transformers knows, or remove {key} if its own class is that model"
            )
        if key in _KERNELS or (_chosen(key) and not _is_built_in(value)):
            raise UsageError(f"{what} has {key}={_short(value)}, code from elsewhere, which is never run; remove {key}")
        if key in _QUANTISATION:
            method = value.get("quant_method", "unnamed") if isinstance(value, dict) else value
            raise UsageError(
                f"{what} has {key} (method {_short(method)}): quantised weights are supported as GGUF files alone; "
                "use the checkpoint that they were made from, with model.base_bits if memory is short"
            )
        check_settings(value, what)


def _chosen(key: str) -> bool:
    return key.removeprefix("_").removesuffix("_internal") in _IMPLEMENTATIONS


def _is_built_in(value: Any) -> bool:
    return all(map(_is_built_in, value.values())) if isinstance(value, dict) else value in _BUILT_IN


def _without_implementations(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out the choice of implementations, whose results do not differ, and of what calls return."""
    return {key: value for key, value in config.items() if not _chosen(key) and key not in _RETURNED}


def check_counts(config: dict[str, Any], what: str) -> None:
    """Refuse a configuration that counts more modules than any model has, whose making would not end.

    Raises:
        UsageError: a count of layers, heads, labels or the like is no number from 0 to 10,000.
    """
    for key, value in config.items():
        if isinstance(value, dict):
            check_counts(value, what)
        elif _COUNT.search(key) and isinstance(value, int | float) and not 0 <= value <= _MOST_MODULES:
            raise UsageError(f"{what} has {key}={value}; such a count lies between 0 and {_MOST_MODULES:,}")


def _refuse_adapters(folder: Path, where: str) -> None:
    if _exists(folder / "adapter_config.json"):
        raise UsageError(
            f"{where}the folder has adapter_config.json: the adapter would be left out; merge it into the model "
            "(peft's merge_and_unload), or remove its files"
        )


def _weights(folder: Path, shown: Path, where: str) -> dict[str, tuple[int, ...]]:
    """Check the files of weights, link them into ``shown``, and return the shapes of their tensors."""
    if _exists(folder / WEIGHTS):
        return _tensors(folder, WEIGHTS, shown, where)
    if not _exists(folder / INDEX):
        others = sorted({path.name for pattern in _OTHER_WEIGHTS for path in folder.glob(pattern)})
        has = (
            f"only {', '.join(others[:3])}, which {'is' if len(others) == 1 else 'are'} never read"
            if others
            else "none"
        )
        raise UsageError(f"{where}the folder has no weights in {WEIGHTS} ({has}); convert them to safetensors")
    index = read_object(_own(folder, INDEX, where), where + INDEX)
    mapped = index.get("weight_map")
    if not isinstance(mapped, dict) or not mapped or not all(isinstance(file, str) for file in mapped.values()):
        raise UsageError(f"{where}{INDEX} has no weight_map from tensors to files; download it again")
    found: dict[str, tuple[int, ...]] = {}
    files = sorted(set(mapped.values()))
    for file in files:
        if Path(file).name != file or not file.endswith(".safetensors") or not _exists(folder / file):
            raise UsageError(f"{where}{INDEX} names {file!r}, which is no safetensors file of this folder")
    for file in files:
        own = _tensors(folder, file, shown, where)
        known = {tensor for tensor, place in mapped.items() if place == file}
        if known != set(own):
            raise UsageError(f"{where}{INDEX} and {file} differ in {listed(known ^ set(own))}; download both again")
        found |= own
    _write(shown / INDEX, index)
    return found


def _tensors(folder: Path, file: str, shown: Path, where: str) -> dict[str, tuple[int, ...]]:
    path = _own(folder, file, where)
    check_regular(path, where + file)
    found: dict[str, tuple[int, ...]] = {}
    with foreign(f"{where}{file} is no complete safetensors file; download it again"), safe_open(path, "pt") as opened:
        for tensor in opened.keys():  # noqa: SIM118 - it is no mapping
            part = opened.get_slice(tensor)
            if part.get_dtype() not in _FLOATS:
                raise UsageError(
                    f"{where}{file} holds {tensor} as {part.get_dtype()}: weights are floats of 16, 32 or 64 bits; use "
                    "the checkpoint that it was quantised from"
                )
            found[tensor] = tuple(part.get_shape())
    (shown / file).symlink_to(path)
    return found


def _own(folder: Path, file: str, where: str) -> Path:
    """Return the real path of ``file``, which a link may lead to only within the folder, or within the repository's
    folder in the hub's cache."""
    root = folder.resolve()
    # The cache has snapshots/COMMIT/FILE -> ../../blobs/HASH.
    allowed = root.parent.parent if root.parent.name == "snapshots" else root
    if not _exists(folder / file):
        raise UsageError(f"{where}the folder has no {file}; give the folder of a whole checkpoint")
    with foreign(f"{where}{file} cannot be found"):
        path = (folder / file).resolve(strict=True)
    if not path.is_relative_to(allowed):
        raise UsageError(f"{where}{file} is a link out of the folder, to {path}; put the file itself there")
    return path


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:76] + " ..."


def listed(names: Iterable[str]) -> str:
    """Name the first few of ``names``, and count the others."""
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
