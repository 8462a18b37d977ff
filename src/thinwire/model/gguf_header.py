"""Hold a GGUF file to what transformers reads of it.

transformers turns the entries of a header that it knows into a configuration, and the tensors that it knows into
weights; it passes over all others. Some of those change what the model computes, such as a scaling of positions. Here
an entry or tensor that nothing is known of is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from transformers.integrations import GGUF_CONFIG_MAPPING

from thinwire.errors import UsageError, foreign
from thinwire.model.safe_json import check_regular

_WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "rope.scaling.type": ("none", ""),
    "rope.scaling.factor": (0, 1),
    "rope.scale_linear": (0, 1),
    "rope.scaling.attn_factor": (0, 1),
    "attn_logit_softcapping": (0,),
    "final_logit_softcapping": (0,),
    "logit_scale": (0, 1),
    "residual_scale": (0, 1),
    "embedding_scale": (0, 1),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attention.causal": (True,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "expert_shared_count": (0,),
    "pooling_type": (0,),
}
"""Entries of an architecture that transformers passes over, and the values with which they change nothing."""
_DESCRIPTIVE = frozenset({"tensor_data_layout", "rope.scaling.original_context_length", "rope.scaling.finetuned"})
"""Entries that say how the file was made, or have a meaning only beside others."""
_HEAD_WIDTHS = ("rope.dimension_count", "attention.key_length", "attention.value_length")
"""Entries that transformers takes from the configuration of one head."""
_TENSOR = re.compile(
    r"(token_embd|output|output_norm|blk\.\d+\.(attn_(q|k|v|qkv|output|norm|q_norm|k_norm|post_norm)|"
    r"post_attention_norm|post_ffw_norm|ffn_(gate|up|down|norm|gate_inp)(_exps|_shexp)?))\.(weight|bias)"
)
"""Names of tensors of models with attention layers."""
_FREQUENCIES = "rope_freqs.weight"


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """What a GGUF file says of itself."""

    entries: dict[str, Any]
    """All but those of the tokenizer."""
    shapes: dict[str, tuple[int, ...]]
    """Names and shapes of its tensors, in the file's order of dimensions."""

    @property
    def num_numbers(self) -> int:
        """The count of all numbers in the weights."""
        return sum(prod(shape) for name, shape in self.shapes.items() if name != _FREQUENCIES)

    def value(self, name: str) -> Any:
        """Return the architecture's entry ``name``, None if there is none."""
        return self.entries.get(f"{self.entries['general.architecture']}.{name}")


def checked_header(gguf: Path) -> GgufHeader:
    """Read the header of ``gguf`` and refuse what transformers would pass over though it changes the model.

    Raises:
        UsageError: the file is damaged, or has an entry or tensor that nothing is known of; the message names it.
    """
    check_regular(gguf, str(gguf))
    with foreign(f"{gguf} cannot be read as a GGUF model"):
        reader = GGUFReader(gguf)
        header = GgufHeader(
            # A vocabulary takes seconds to read, and is read by transformers.
            entries={name: one.contents() for name, one in reader.fields.items() if not name.startswith("tokenizer.")},
            shapes={tensor.name: tuple(map(int, tensor.shape)) for tensor in reader.tensors},
        )
        frequencies = next((np.array(tensor.data) for tensor in reader.tensors if tensor.name == _FREQUENCIES), None)
    architecture = header.entries.get("general.architecture")
    if not isinstance(architecture, str):
        raise UsageError(f"{gguf} names no architecture (general.architecture), so it is no GGUF model")
    known = GGUF_CONFIG_MAPPING.get(_renamed(architecture), {})
    for name, value in header.entries.items():
        kind, _, entry = name.partition(".")
        if kind == architecture and entry not in known and not _has_no_effect(entry, value):
            raise UsageError(
                f"{gguf.name} has {name}={value}, which transformers passes over though it may change the model; use "
                "the checkpoint from which the file was made"
            )
    if frequencies is not None and not np.array_equal(frequencies, np.ones_like(frequencies)):
        raise UsageError(
            f"{gguf.name} has {_FREQUENCIES}, a scaling of positions that transformers passes over; use the checkpoint "
            "from which the file was made, whose config.json says it (rope_parameters)"
        )
    for name in header.shapes:
        if name != _FREQUENCIES and not _TENSOR.fullmatch(name):
            raise UsageError(
                f"{gguf.name} has a tensor {name}, of which nothing is known; use the checkpoint from which the file "
                "was made"
            )
    return header


def check_converted(header: GgufHeader, model: Any, gguf: Path) -> None:
    """Compare the model that transformers made of a GGUF file with the file's header.

    Raises:
        UsageError: they differ in the count of numbers, the vocabulary or the width of heads.
    """
    config = model.config.get_text_config()
    numbers = sum(parameter.numel() for parameter in model.parameters())
    rows = len(model.get_input_embeddings().weight)
    width = getattr(config, "head_dim", None) or config.hidden_size // getattr(config, "num_attention_heads", 1)
    compared = {"numbers": (header.num_numbers, numbers), "tokens": (header.value("vocab_size") or rows, rows)}
    compared |= {name: (header.value(name) or width, width) for name in _HEAD_WIDTHS}
    for name, (file, made) in compared.items():
        if file != made:
            raise UsageError(
                f"{gguf.name} has {name} {file:,}, but the model that transformers makes of it has {made:,}; use the "
                "checkpoint from which the file was made"
            )


def _has_no_effect(entry: str, value: Any) -> bool:
    if entry in _WITHOUT_EFFECT:
        return value in _WITHOUT_EFFECT[entry]
    return entry in _DESCRIPTIVE or entry in _HEAD_WIDTHS or entry == "vocab_size"


def _renamed(architecture: str) -> str:
    """Return transformers' name of a GGUF architecture."""
    return {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "gpt-oss": "gpt_oss"}.get(architecture, architecture)
