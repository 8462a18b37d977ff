"""Hold a checkpoint's weights to its configuration: by their sizes before they are loaded, then by their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import nn

from thinwire.errors import UsageError, foreign
from thinwire.model.checkpoint_files import CONFIG, Checkpoint, listed

OWN_FILES_ALONE: Mapping[str, Any] = {"trust_remote_code": False, "local_files_only": True}
"""Arguments by which transformers runs no code of a model's and fetches nothing."""

_SUPPORTED = "such as Llama, Qwen, Mistral, Gemma 3 or SmolLM"


def model_config(checkpoint: Checkpoint, name: str) -> Any:
    """Read the configuration of a causal LM of text.

    Raises:
        UsageError: it is damaged, or of a model of another kind.
    """
    with foreign(f"model {name}: {CONFIG} is of no model that this release of transformers knows"):
        config = transformers.AutoConfig.from_pretrained(checkpoint.folder, **OWN_FILES_ALONE)
        config._name_or_path = name
        classes, known = config.architectures, transformers.MODEL_FOR_CAUSAL_LM_MAPPING
        causal = known[type(config)].__name__ if type(config) in known else None
        is_text, seq2seq = config.get_text_config() is config, bool(config.is_encoder_decoder)
    if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes) or not classes:
        raise UsageError(f"model {name}: {CONFIG} names no architectures; it must name a causal LM, {_SUPPORTED}")
    if seq2seq:
        raise UsageError(f"model {name}: {classes[0]} has an encoder beside its decoder; use a causal LM, {_SUPPORTED}")
    if not is_text:
        raise UsageError(
            f"model {name}: {classes[0]} takes more than text, which is not supported; use a causal LM of text alone, "
            f"{_SUPPORTED}"
        )
    if causal not in classes:
        raise UsageError(f"model {name}: {', '.join(classes)} is no causal LM of transformers; use one, {_SUPPORTED}")
    return config


def check_size(config: Any, checkpoint: Checkpoint, name: str, device: torch.device, *, memory: int, bits: int) -> int:
    """Compare the sizes that ``config`` asks for with those of the files and of the memory, before any is allocated.

    Returns the number of rows of the embedding matrix.

    Args:
        device: its name, for the message.
        memory: bytes for the weights.
        bits: how many each number of the weights takes.

    Raises:
        UsageError: the configuration has more numbers than the files, or more than fit the memory.
    """
    with foreign(f"model {name}: {CONFIG} describes no model that can be made"), torch.device("meta"):
        empty = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        asked = sum(parameter.numel() for parameter in empty.parameters())
        rows, outputs = len(empty.get_input_embeddings().weight), len(empty.get_output_embeddings().weight)
    if asked > checkpoint.num_numbers:
        raise UsageError(
            f"model {name}: {CONFIG} describes a model of {asked:,} numbers, but the weights hold "
            f"{checkpoint.num_numbers:,}; its layers or widths are not those of the weights"
        )
    if rows != outputs:
        raise UsageError(f"model {name} reads {rows:,} tokens and writes {outputs:,}, which is not supported")
    if (needed := asked * bits // 8) > memory:
        raise UsageError(
            f"model {name}: its weights take {needed / 1e9:.1f} GB, but {device} has {memory / 1e9:.1f} GB; use a "
            "smaller model, or on GPUs model.device=auto_map (several) or model.base_bits"
        )
    return rows


def check_loaded(model: nn.Module, info: Mapping[str, Any], checkpoint: Checkpoint, name: str) -> None:
    """Refuse a model whose weights are not all those of its files, or not all finite.

    Args:
        info: what ``from_pretrained`` returned of its loading.

    Raises:
        UsageError: tensors are missing, left over, of another shape, or hold NaN or infinity; the message names them.
    """
    with foreign(f"model {name}: it is not known which tensors were loaded"):
        missing = {str(key) for key in info["missing_keys"]}
        shapes = {str(key[0]) for key in info["mismatched_keys"]}
        unused = {str(key) for key in info["unexpected_keys"] if not _is_frequencies(str(key))}
        failed = [str(message) for message in info["error_msgs"]]
    for names, trouble in (
        (missing, "lack"),
        (shapes, "have with another shape"),
        (unused, "have but the model lacks"),
    ):
        if names:
            raise UsageError(
                f"model {name}: its weights {trouble} {listed(names)}; download it again, or correct {CONFIG}"
            )
    if failed:
        raise UsageError(f"model {name}: weights could not be loaded ({failed[0].splitlines()[0]})")
    _check_frequencies(model, checkpoint, name)
    for key, parameter in model.named_parameters():
        if not is_finite(parameter):
            raise UsageError(f"model {name}: {key} holds NaN or infinity; the weights are damaged, download them again")


def is_finite(numbers: torch.Tensor) -> bool:
    """Return whether all ``numbers`` are finite; other types than floats always are."""
    if not numbers.dtype.is_floating_point or numbers.numel() == 0:
        return True
    # One pass without a mask of the same size; large finite numbers may overflow, so the answer no is checked.
    return bool(numbers.sum(dtype=torch.float32).isfinite()) or bool(numbers.isfinite().all())


def _is_frequencies(key: str) -> bool:
    """Return whether ``key`` is the buffer of rotary frequencies that older releases of transformers saved."""
    return key.endswith("rotary_emb.inv_freq")


def _check_frequencies(model: nn.Module, checkpoint: Checkpoint, name: str) -> None:
    """Refuse saved rotary frequencies that are not those of the configuration, which alone are used."""
    saved = [key for key in checkpoint.shapes if _is_frequencies(key)]
    own = next((buffer for key, buffer in model.named_buffers() if _is_frequencies(key)), None)
    if not saved:
        return
    for file in checkpoint.folder.glob("*.safetensors"):
        with foreign(f"model {name}: {file.name} cannot be read"), safe_open(file, "pt") as opened:
            for key in set(saved) & set(opened.keys()):
                found = opened.get_tensor(key).float()
                if own is None or found.shape != own.shape or not torch.allclose(found, own.float().cpu(), rtol=1e-2):
                    raise UsageError(
                        f"model {name}: {file.name} holds {key} unlike that of {CONFIG}: positions are encoded in "
                        "another way than the configuration says (rope_parameters)"
                    )
