"""Names and layouts of a model's tensors in a GGUF file, held to those of the file that the model was read from.

llama.cpp stores some tensors otherwise than transformers: the rows of rotated queries and keys of Llama in another
order, the norms of Gemma with one added. Which of that holds for an architecture is found by comparing the base model's
own weights with its file, tensor by tensor, so that nothing is written in a layout that was only assumed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from thinwire.errors import UsageError

Floats = NDArray[np.float32]

_ROTATED = re.compile(r"blk\.\d+\.attn_(q|k)\.(weight|bias)")
_RELATIVE, _ABSOLUTE = 2.0**-7, 1e-6
"""Largest differences of a tensor that was rounded to bfloat16 when the file was read, norms less one included."""


class GgufLayout:
    """Converts the tensors of one model from transformers' layout to that of its GGUF file."""

    def __init__(self, model: Any, architecture: str) -> None:
        """Find the names of the model's tensors.

        Raises:
            UsageError: the ``gguf`` package does not know the architecture.
        """
        config = model.config.get_text_config()
        known = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
        if architecture not in known:
            raise UsageError(f"the gguf package does not know the architecture {architecture!r}; take another --format")
        self._names = gguf.get_tensor_name_map(known[architecture], config.num_hidden_layers)
        self._is_gemma = architecture.startswith("gemma")
        self._is_llama = architecture == "llama"
        self._num_heads = int(config.num_attention_heads)
        self._num_key_heads = int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)

    def name(self, parameter: str) -> str:
        """Return the name in GGUF of a parameter of the model.

        Raises:
            UsageError: there is none.
        """
        found = self._names.get_name(parameter, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise UsageError(f"the tensor {parameter} has no name in GGUF; take another --format")
        return str(found)

    def values(self, name: str, tensor: Tensor) -> Floats:
        """Return the numbers of a parameter as the file with the tensor ``name`` holds them, float32."""
        found: Floats = tensor.detach().float().numpy()
        if self._is_llama and (part := _ROTATED.fullmatch(name)):
            heads = self._num_heads if part[1] == "q" else self._num_key_heads
            # Rotated pairs are halves of a head in transformers, neighbours in llama.cpp.
            halves = found.reshape(heads, 2, found.shape[0] // heads // 2, *found.shape[1:])
            return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(found.shape))
        if self._is_gemma and name.endswith("norm.weight"):
            return found + np.float32(1)
        return found


def check_layout(layout: GgufLayout, model: Any, tensors: Mapping[str, Any], file: str) -> None:
    """Compare every tensor of the base model with the file that it was read from, in the layout to be written.

    Args:
        tensors: the file's, by name, as ``GGUFReader`` gives them.
        file: its name, in messages.

    Raises:
        UsageError: a tensor is missing on either side, or differs by more than the rounding to bfloat16.
    """
    found = {layout.name(name): tensor for name, tensor in model.named_parameters()}
    kept = set(tensors) - {"rope_freqs.weight"}
    problem = next(iter(sorted(found.keys() ^ kept)), None)
    for name, tensor in found.items():
        if problem is not None:
            break
        stored = gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type)
        if stored.shape != tuple(tensor.shape) or not np.allclose(
            layout.values(name, tensor), stored, _RELATIVE, _ABSOLUTE
        ):
            problem = name
    if problem is not None:
        raise UsageError(
            f"the tensor {problem} of {file} cannot be told from the model's weights, so its layout is not known; take "
            "--format transformers and convert that folder with llama.cpp's convert_hf_to_gguf.py"
        )
