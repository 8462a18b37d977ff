"""Compiling a model's decoder layers for training, where that pays."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn
from torch.fx.experimental import _config as symbols

from thinwire.config import Auto
from thinwire.model import LanguageModel

logger = logging.getLogger(__name__)

_LEAST_FLOPS = {"cuda": 2e15, "cpu": 1.2e13}
"""Arithmetic of a training below which compiling (15 to 60 seconds) costs more than it saves."""


@contextmanager
def compiled_layers(lm: LanguageModel, setting: bool | Auto, num_tokens: int) -> Iterator[bool]:
    """Compile each decoder layer for the length of the block; gives whether it does.

    All layers share their code, and sizes are symbolic from the start, so there are a handful of compilations: with
    and without LoRA. ``auto`` compiles where a compiler is at hand and training ``num_tokens`` takes long enough.
    """
    if setting == "auto":
        parameters = sum(parameter.numel() for layer in _layers(lm) for parameter in layer.parameters())
        kind = "cuda" if lm.device.type == "cuda" else "cpu"
        setting = lm.base_bits is None and _can_compile(kind) and 4.0 * parameters * num_tokens > _LEAST_FLOPS[kind]
    if not setting:
        yield False
        return
    logger.info("compiling the decoder layers; the first steps are slow")
    layers = _layers(lm)
    try:
        with (
            # A sweep compiles once for each kind of group: more often than torch allows for by default. And a model's
            # floats are constants: looking at them as if they varied, torch begins anew when it finds that they do not.
            torch._dynamo.config.patch(recompile_limit=64, specialize_float=True),
            # Sizes that are equal by chance, a head's width and the number of blocks, say, need not be so ever after.
            symbols.patch(use_duck_shape=False),  # type: ignore[attr-defined]
        ):
            for layer in layers:
                layer.compile(dynamic=True)
            yield True
    finally:
        for layer in layers:
            layer._compiled_call_impl = None


def uncompiled() -> AbstractContextManager[object]:
    """Run what is compiled as it is written, for the length of the block: decoding has shapes of its own."""
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def _layers(lm: LanguageModel) -> list[nn.Module]:
    """The decoder's numbered layers."""
    lists = [list(module) for module in lm.model.get_decoder().modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=[])


def _can_compile(kind: str) -> bool:
    if kind == "cuda":
        return torch.utils._triton.has_triton()
    return shutil.which("g++") is not None or shutil.which("clang++") is not None
