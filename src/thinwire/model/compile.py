"""Compile a model's decoder layers for training where that saves time."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch.fx.experimental import _config as symbols

from thinwire.model.language_model import LanguageModel
from thinwire.schema import Auto

logger = logging.getLogger(__name__)

_LEAST_FLOPS = {"cuda": 2e15, "cpu": 1.2e13}
"""Training FLOPs below which compiling (15 to 60 seconds) costs more time than it saves."""


@contextmanager
def compiled_layers(lm: LanguageModel, setting: bool | Auto, num_tokens: int) -> Iterator[bool]:
    """Compile each decoder layer within the block; yields whether the layers are compiled.

    All layers share their code and their sizes are symbolic from the start, so it compiles only a few times: with LoRA
    and without. ``auto`` compiles if there is a compiler and training on ``num_tokens`` tokens takes long enough.
    """
    if setting == "auto":
        parameters = sum(parameter.numel() for layer in lm.layers for parameter in layer.parameters())
        kind = "cuda" if lm.device.type == "cuda" else "cpu"
        can = lm.packs and lm.base_bits is None and not lm.is_divided and _can_compile(kind)
        setting = can and 4.0 * parameters * num_tokens > _LEAST_FLOPS[kind]
    if not setting:
        yield False
        return
    logger.info("compiling the decoder layers; the first steps are slow")
    layers = lm.layers
    try:
        with (
            # A sweep compiles once for each kind of group, which exceeds torch's default limit. A model's floats are
            # constants: traced as variables, they make torch start tracing again. No public option specialises floats.
            torch._dynamo.config.patch(recompile_limit=64, specialize_float=True),
            # Do not specialise on dimensions that happen to match, such as a head's width and the number of blocks.
            # There is no public option for it.
            symbols.patch(use_duck_shape=False),  # type: ignore[attr-defined]
        ):
            for layer in layers:
                layer.compile(dynamic=True)
            yield True
    finally:
        for layer in layers:
            layer._compiled_call_impl = None  # ``compile`` sets it, and there is no public way to undo that


def uncompiled() -> AbstractContextManager[object]:
    """Run compiled layers uncompiled within the block: for decoding, whose shapes differ from training's."""
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def _can_compile(kind: str) -> bool:
    """Return whether there is a compiler: Triton for CUDA, a C++ compiler for a CPU."""
    if kind == "cuda":
        return torch.utils._triton.has_triton()  # the inductor's own check; there is no public one
    return shutil.which("g++") is not None or shutil.which("clang++") is not None
