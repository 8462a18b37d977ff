"""LoRA in peft's format: make and check its configuration and files, and put factors on a model."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thinwire.config.lora_settings import LoraSettings
from thinwire.errors import ThinwireError
from thinwire.model.lora_modules import LAYER, depth_of, is_named, target_names
from thinwire.reading import read_json
from thinwire.results.tensor_file import Layout, TensorType, read_layout

CONFIG_FILE = "adapter_config.json"
"""Peft's name for the file of LoRA's settings."""

FACTORS_FILE = "adapter_model.safetensors"
"""Peft's name for the file of saved factors."""

_FACTOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")

_ESSENTIAL = ("peft_type", "r", "lora_alpha", "target_modules", "layers_to_transform")
"""Entries that every release of peft writes."""


def peft_config(settings: LoraSettings, depth: int, targets: Sequence[str]) -> Any:
    """Convert ``settings`` to peft's configuration.

    Args:
        depth: number of the model's layers.
        targets: names of the adapted modules (``lora_modules.target_names``).
    """
    import peft  # slow to import, and needed only to save or merge factors

    return peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(targets),
        layers_to_transform=None if settings.layers == "all" else list(settings.adapted_layers(depth)),
        task_type="CAUSAL_LM",
        inference_mode=True,
    )


def saved_config(settings: LoraSettings, depth: int, targets: Sequence[str]) -> dict[str, Any]:
    """Return the content of ``adapter_config.json``; arguments as in ``peft_config``."""
    config = peft_config(settings, depth, targets).to_dict()
    # peft keeps the names of modules in a set, whose order changes from process to process.
    return {**config, "target_modules": sorted(config["target_modules"])}


def check_saved_lora(folder: Path, settings: LoraSettings, depth: int, within: Path) -> None:
    """Check without a model that the files in ``folder`` are LoRA with ``settings`` on a model of ``depth`` layers.

    Args:
        within: the folder that the files must lie in after links are followed.

    Raises:
        ThinwireError: a file cannot be read, or tells other settings, layers or targets.
    """
    found = read_json(folder / CONFIG_FILE, within)
    targets = settings.targets if isinstance(settings.targets, tuple) else _saved_targets(folder / CONFIG_FILE, found)
    _check_config(folder / CONFIG_FILE, found, saved_config(settings, depth, targets))
    layers = {str(layer) for layer in settings.adapted_layers(depth)}
    file = folder / FACTORS_FILE
    if problem := next(_problems(read_layout(file, within), settings.rank, targets, layers), None):
        raise ThinwireError(
            f"{file} does not hold the LoRA of the record and of {CONFIG_FILE}: {problem}; put the arm's own there"
        )


def _saved_targets(file: Path, found: Any) -> tuple[str, ...]:
    """Return the modules that a saved configuration names, where the settings name a kind of modules."""
    names = found.get("target_modules") if isinstance(found, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ThinwireError(f"{file}: target_modules names no modules; put the arm's own file there")
    return tuple(names)


def _check_config(file: Path, found: Any, expected: Mapping[str, Any]) -> None:
    if not isinstance(found, dict):
        raise ThinwireError(f"{file} holds a {type(found).__name__}, expected peft's settings of LoRA")
    here = {name: value for name, value in found.items() if name != "peft_version"}
    for name, value in here.items():
        # Releases of peft differ in what they can be told; what one does not know, the other must not use.
        wanted = expected.get(name)
        if (value != wanted) if name in expected else bool(value):
            raise ThinwireError(
                f"{file}: {name} is {value!r}, {wanted!r} in the arm's record; put the arm's own file there"
            )
    if lacking := [name for name in _ESSENTIAL if name not in here]:
        raise ThinwireError(f"{file} lacks {', '.join(lacking)}; put the arm's own file there")


def _problems(found: Layout, rank: int, targets: Sequence[str], layers: set[str]) -> Iterator[str]:
    """Yield what tells that factors are not those of ``targets`` in these layers, of this rank."""
    ends = {"A": 0, "B": 1}
    modules = set()
    for name, kind in found.items():
        parts, layer = _FACTOR.fullmatch(name), LAYER.search(name)
        if parts is None or layer is None:
            yield f"{name} is no factor of a layer"
            continue
        modules.add(parts["module"])
        if layer[1] not in layers:
            yield f"{name} is in layer {layer[1]}, which the record does not adapt"
        elif not is_named(parts["module"], targets):
            yield f"{name} is of {parts['module'].rpartition('.')[2]}, which the record does not adapt"
        if len(kind.shape) != 2 or kind != TensorType("F32", kind.shape):
            yield f"{name} is {kind}, expected a matrix of F32"
        elif kind.shape[ends[parts["factor"]]] != rank:
            yield f"{name} is {kind}, expected rank {rank}"
        other = name.replace(".lora_A.", ".lora_B.") if parts["factor"] == "A" else name.replace(".lora_B.", ".lora_A.")
        if other not in found:
            yield f"{other} is missing"
    if missing := sorted(target for target in targets if not any(is_named(module, [target]) for module in modules)):
        yield f"it has no factors of {', '.join(missing)}"


def with_factors(model: Any, settings: LoraSettings, factors: Mapping[str, Tensor], *, merge: bool) -> Any:
    """Return ``model`` with LoRA of ``settings``: merged into its weights, or in separate modules.

    Args:
        factors: by their names in peft's format, all that ``settings`` have on ``model``.
    """
    import peft  # slow to import, and needed only to save or merge factors

    with torch.no_grad(), warnings.catch_warnings():
        # Warnings about tied output heads, which LoRA does not adapt here, and about names that transformers renamed.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        adapted = peft.get_peft_model(model, peft_config(settings, depth_of(model), target_names(model, settings)))
        peft.set_peft_model_state_dict(adapted, dict(factors))
        return adapted.merge_and_unload() if merge else adapted.get_base_model().eval()
