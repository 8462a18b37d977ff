"""LoRA in peft's format: make its configuration, and put saved factors on a model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from thinwire.config.settings import LoraSettings
from thinwire.errors import UsageError, foreign
from thinwire.model.checkpoint_files import check_settings, listed
from thinwire.model.safe_json import check_regular, read_object

FACTORS_FILE = "adapter_model.safetensors"
"""Peft's name for the file of saved factors."""
CONFIG_FILE = "adapter_config.json"
"""Peft's name for the file of an adapter's settings."""
_PLAIN = ("r", "lora_alpha", "lora_dropout", "target_modules", "layers_to_transform")
_DESCRIPTIVE = ("base_model_name_or_path", "revision", "peft_version", "inference_mode", "runtime_config")
"""Settings of peft's that change nothing here."""


def peft_config(settings: LoraSettings, depth: int) -> Any:
    """Convert ``settings`` to peft's configuration, for a model of ``depth`` layers."""
    import peft  # slow to import, and needed only to save or merge factors

    return peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
        layers_to_transform=None if settings.layers == "all" else list(settings.adapted_layers(depth)),
        task_type="CAUSAL_LM",
        inference_mode=True,
    )


def saved_factors(folder: Path) -> dict[str, Tensor]:
    """Read the factors that ``StackedLora.save`` wrote to ``folder``, onto the CPU, by their names.

    Raises:
        UsageError: the file is missing, damaged, or holds NaN or infinity.
    """
    file = folder / FACTORS_FILE
    check_regular(file, str(file))
    with foreign(f"{file} is no complete safetensors file"):
        factors: dict[str, Tensor] = load_file(file)
    for name, factor in factors.items():
        if not factor.dtype.is_floating_point or not bool(factor.isfinite().all()):
            raise UsageError(f"{file}: {name} holds other numbers than finite floats; the file is damaged")
    return factors


def with_factors(model: Any, folder: Path, *, merge: bool) -> Any:
    """Return ``model`` with the factors saved in ``folder``: merged into its weights, or in separate modules.

    peft itself reads nothing of the folder, in which it would also look for pickles and follow names of other models.

    Raises:
        UsageError: the configuration asks for another adapter than plain LoRA, or the factors are not those it needs.
    """
    import peft  # slow to import, and needed only to save or merge factors

    settings, factors = _plain_lora(folder / CONFIG_FILE), saved_factors(folder)
    with torch.no_grad(), warnings.catch_warnings():
        # Warnings about tied output heads, which LoRA does not adapt here, and about names that transformers renamed.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        with foreign(f"the LoRA in {folder} does not fit {type(model).__name__}"):
            adapted = peft.PeftModelForCausalLM(model, peft.LoraConfig(**settings))
            needed = {name: value.shape for name, value in peft.get_peft_model_state_dict(adapted).items()}
        if needed != {name: value.shape for name, value in factors.items()}:
            differing = {name for name in {*needed, *factors} if name not in needed or name not in factors}
            raise UsageError(
                f"{folder / FACTORS_FILE} holds other factors than {CONFIG_FILE} beside it needs: "
                f"{listed(differing or needed)}; take both from the same run"
            )
        with foreign(f"the LoRA in {folder} does not fit {type(model).__name__}"):
            peft.set_peft_model_state_dict(adapted, factors)
            return adapted.merge_and_unload() if merge else adapted.get_base_model().eval()


def _plain_lora(file: Path) -> dict[str, Any]:
    """Read the settings of peft's that plain LoRA has, and refuse all others that are not at their default.

    Raises:
        UsageError: the file cannot be read, or asks for more than plain LoRA.
    """
    import peft

    found = read_object(file, str(file))
    check_settings(found, str(file))
    plain = {name: found.get(name) for name in _PLAIN} | {"task_type": "CAUSAL_LM", "inference_mode": True}
    with foreign(f"{file} is no configuration of peft's LoRA"):
        peft.LoraConfig(**plain)
        usual = peft.LoraConfig(task_type="CAUSAL_LM", inference_mode=True).to_dict()
    for name, value in found.items():
        # Releases of peft differ in the settings that they know; one that is off is off in all of them.
        if name not in (*_PLAIN, *_DESCRIPTIVE) and value and value != usual.get(name):
            raise UsageError(
                f"{file} has {name}={value!r}, which plain LoRA does not have; take it from the same run again"
            )
    return plain
