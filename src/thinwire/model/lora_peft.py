"""LoRA in peft's format: make its configuration, and put saved factors on a model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from thinwire.config.settings import LoraSettings

FACTORS_FILE = "adapter_model.safetensors"
"""Peft's name for the file of saved factors."""


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
    """Read the factors that ``StackedLora.save`` wrote to ``folder``, onto the CPU, by their names."""
    factors: dict[str, Tensor] = load_file(folder / FACTORS_FILE)
    return factors


def with_factors(model: Any, folder: Path, *, merge: bool) -> Any:
    """Return ``model`` with the factors saved in ``folder``: merged into its weights, or in separate modules."""
    import peft  # slow to import, and needed only to save or merge factors

    with torch.no_grad(), warnings.catch_warnings():
        # Warnings about tied output heads, which LoRA does not adapt here, and about names that transformers renamed.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        adapted = peft.PeftModel.from_pretrained(model, folder)
        return adapted.merge_and_unload() if merge else adapted.get_base_model().eval()
