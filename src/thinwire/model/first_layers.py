"""A trainable copy of a model's first layers."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from thinwire.errors import UsageError
from thinwire.model.language_model import LanguageModel


def check_first_layers(lm: LanguageModel, number: int) -> None:
    """Refuse to copy the first ``number`` layers of a model that cannot lend them.

    Raises:
        UsageError: the model has fewer layers, they are quantised or on several devices, or its sequences cannot be
            packed.
    """
    if number > lm.num_layers:
        raise UsageError(
            f"blocks.layers is {number}, but {lm.name} has {lm.num_layers} layers; choose 1 to {lm.num_layers}"
        )
    obstacles = {
        "its layers are quantised (model.base_bits)": lm.base_bits is not None,
        "it is divided over several devices (model.device)": lm.is_divided,
        "its sequences cannot be packed": not lm.packs,
    }
    if cause := next((cause for cause, holds in obstacles.items() if holds), None):
        raise UsageError(
            f"{lm.name} cannot lend its first layers to the encoder of blocks: {cause}; choose another blocks.encoder"
        )


def copy_of_first_layers(lm: LanguageModel, number: int) -> nn.Module:
    """Copy the decoder with its first ``number`` layers and its final norm, without embeddings, in float32.

    Raises:
        UsageError: as ``check_first_layers``.
    """
    check_first_layers(lm, number)
    decoder: Any = lm.model.get_decoder()
    lists = (module for module in decoder.modules() if isinstance(module, nn.ModuleList))
    layers = next(one for one in lists if list(one) == lm.layers)
    # What is left out is replaced before it is copied: embeddings can be larger than all layers. Layers and decoder
    # share their configuration, so they share what is already copied.
    copies: dict[int, Any] = {id(lm.model.get_input_embeddings()): nn.Identity()}
    copies[id(layers)] = nn.ModuleList(copy.deepcopy(lm.layers[:number], copies))
    copied = copy.deepcopy(decoder, copies)
    copied.config.num_hidden_layers = number
    made: nn.Module = copied.float().requires_grad_()
    return made
