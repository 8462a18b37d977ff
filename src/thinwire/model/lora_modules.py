"""Which linear modules of a model LoRA adapts, and their names in peft's settings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from thinwire.config.lora_settings import LoraSettings
from thinwire.errors import UsageError

LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")
"""Finds the number of the layer in a module's name."""

_ATTENTION = re.compile(r"attn|attention")
"""Occurs in the name that architectures give to the attention of a layer."""


def depth_of(model: Any) -> int:
    """Return the model's number of layers."""
    return int(model.config.get_text_config().num_hidden_layers)


_MAMBA = frozenset({"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"})
"""Types of models whose ``out_proj`` peft does not adapt."""


def linear_modules(model: Any) -> dict[str, nn.Module]:
    """Return the linear modules of the model's numbered layers that can be adapted, by name, in the model's order.
    GPT-2's ``Conv1D`` is one, with a transposed weight."""
    # Mamba's layers multiply by these weights themselves, so factors beside them would have no effect.
    read_directly = {"dt_proj", "out_proj"} if model.config.model_type in _MAMBA else {"dt_proj"}
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and LAYER.search(name)
        and name.rpartition(".")[2] not in read_directly
    }


def widths(module: nn.Module) -> tuple[int, int]:
    """Return the input and output width of a linear module."""
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    assert isinstance(module, nn.Linear)
    return module.in_features, module.out_features


def is_named(name: str, targets: Iterable[str]) -> bool:
    """Return whether one of ``targets`` names the module ``name``: all of it, or its last parts, as peft does."""
    return any(name == target or name.endswith(f".{target}") for target in targets)


def adapted_modules(model: Any, settings: LoraSettings) -> set[str]:
    """Return the names of the linear modules that ``settings`` adapt.

    Raises:
        UsageError: more layers than the model has, or a target that matches no module of these layers.
    """
    if settings.rank == 0:
        return set()
    layers = settings.adapted_layers(depth_of(model))
    names = [name for name in linear_modules(model) if _layer(name) in layers]
    if not names:
        raise UsageError(
            f"LoRA adapts linear modules of its layers, but {type(model).__name__} has none; use a model such as "
            "Llama, Qwen, Mistral or SmolLM, or lora.rank=0"
        )
    if isinstance(settings.targets, str):
        found = {name for name in names if settings.targets == "all-linear" or _ATTENTION.search(_within(name))}
        if not found:
            raise UsageError(
                f"lora.targets=attention finds no linear module of attention in {type(model).__name__}; name some of "
                f"{_kinds(names)}, or use all-linear"
            )
        return found
    for target in settings.targets:
        if not any(is_named(name, [target]) for name in names):
            raise UsageError(
                f"lora.targets: {target!r} matches no linear module of these layers; there are: {_kinds(names)}"
            )
    return {name for name in names if is_named(name, settings.targets)}


def target_names(model: Any, settings: LoraSettings) -> list[str]:
    """Return the names of the adapted modules as peft's ``target_modules`` has them: without the layer, and only the
    last part where that tells them from modules that are not adapted.

    Raises:
        UsageError: as in ``adapted_modules``.
    """
    if not isinstance(settings.targets, str):
        return sorted(settings.targets)
    adapted, layers = adapted_modules(model, settings), settings.adapted_layers(depth_of(model))
    others = [name for name in linear_modules(model) if _layer(name) in layers and name not in adapted]
    found = {name.rpartition(".")[2] for name in adapted}
    ambiguous = {last for last in found if any(is_named(name, [last]) for name in others)}
    return sorted(
        {_within(name) if name.rpartition(".")[2] in ambiguous else name.rpartition(".")[2] for name in adapted}
    )


def _layer(name: str) -> int:
    match = LAYER.search(name)
    assert match is not None, "a module of a layer"
    return int(match[1])


def _within(name: str) -> str:
    """Return a module's name within its layer."""
    match = LAYER.search(name)
    assert match is not None, "a module of a layer"
    return name[match.end() :]


def _kinds(names: Iterable[str]) -> str:
    return ", ".join(sorted({name.rpartition(".")[2] for name in names}))
