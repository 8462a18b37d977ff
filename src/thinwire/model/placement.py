"""Divide a model that is too large for one GPU among several: whole layers on each, in their order.

accelerate's hooks move what a layer gets to the layer's device. Inputs and results of ``LanguageModel`` are on the
device of the embedding matrix, so nothing else has to know of the others.
"""

from __future__ import annotations

from typing import Any

import psutil
import torch

from thinwire.config.settings import AUTO_MAP
from thinwire.errors import UsageError
from thinwire.model.language_model import LanguageModel, logger


def placement(setting: str, device: torch.device) -> dict[str, Any]:
    """Return the arguments by which ``from_pretrained`` places a model.

    Args:
        setting: ``model.device``.
        device: of inputs and results, as ``choose_device`` returns it.
    """
    gpus = _gpus(setting, device)
    if len(gpus) < 2:
        return {"device_map": {"": device}}
    # Only GPUs are named, so no layer is left to the CPU or the disk.
    return {"device_map": "balanced", "max_memory": {gpu: torch.cuda.mem_get_info(gpu)[0] for gpu in gpus}}


def total_memory(setting: str, device: torch.device) -> int:
    """Return the bytes of memory of all devices that weights may be placed on; arguments as in ``placement``."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().total)
    return sum(torch.cuda.get_device_properties(gpu).total_memory for gpu in _gpus(setting, device))


def check_placement(lm: LanguageModel, setting: str) -> None:
    """Refuse a model of which a part is not in the memory of the devices that compute, and log how it is divided.

    Args:
        setting: ``model.device``.

    Raises:
        UsageError: weights were left on the disk.
    """
    if any(parameter.is_meta for parameter in lm.model.parameters()):
        raise UsageError(f"model {lm.name} does not fit the memory of the GPUs that are free; use more of them")
    if setting == AUTO_MAP:
        shares = ", ".join(f"{number} on {device}" for device, number in lm.layers_by_device.items())
        logger.info("%d layers: %s", lm.num_layers, shares)


def _gpus(setting: str, device: torch.device) -> list[torch.device | int]:
    if device.type != "cuda":
        return []
    return list(range(torch.cuda.device_count())) if setting == AUTO_MAP else [device]
