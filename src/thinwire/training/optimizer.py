"""The optimiser's parameter groups and the schedule of their learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from thinwire.config.settings import TrainingConfig
from thinwire.training.arm import ArmTraining

Part = Literal["adapter", "lora"]


def parameter_groups(arms: Sequence[ArmTraining]) -> list[dict[str, Any]]:
    """Return the optimiser's parameter groups: one for all arms with the same part and training settings."""
    groups: dict[tuple[Part, TrainingConfig], list[nn.Parameter]] = {}
    for arm in arms:
        parts: dict[Part, list[nn.Parameter]] = {"adapter": arm.adapter, "lora": [] if arm.row is None else [arm.row]}
        for part, parameters in parts.items():
            if parameters:
                groups.setdefault((part, arm.config.training), []).extend(parameters)
    return [
        {
            "params": parameters,
            "peak": {"adapter": training.adapter_lr, "lora": training.lora_lr}[part],
            "weight_decay": training.weight_decay,
            "part": part,
            "training": training,
        }
        for (part, training), parameters in groups.items()
    ]


def learning_rate_factor(step: int, total: int, config: TrainingConfig) -> float:
    """Return the learning rate of ``step``, from 0, as a factor of the peak rate: linear warm-up, then linear decay to
    zero after ``total`` steps."""
    warmup = min(20, total // 10) if config.warmup_steps == "auto" else config.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (total - step) / max(1, total - warmup)
