"""Find, load and check a causal LM."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers

from thinwire.assets import ASSETS, fetch, is_fetched
from thinwire.config.settings import AUTO_MAP, ModelConfig
from thinwire.errors import UsageError, foreign
from thinwire.hashes import file_hash
from thinwire.model.checkpoint_files import Checkpoint, checked_checkpoint
from thinwire.model.gguf import dequantized, quantisation
from thinwire.model.gguf_header import checked_header
from thinwire.model.hub import DEFAULT_MODEL, is_cached, located
from thinwire.model.language_model import LanguageModel, logger
from thinwire.model.placement import check_placement, placement, total_memory
from thinwire.model.quiet import quiet_transformers
from thinwire.model.support import check_model
from thinwire.model.tokenizer import check_end_tokens, load_tokenizer
from thinwire.model.weights import OWN_FILES_ALONE, check_loaded, check_size, model_config
from thinwire.ops.device import fast_dtype, usable_devices

PLAN_MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct"
"""The model of the plan's experiment (docs/plan.md)."""

_PLAN_MODEL_BYTES = 40e9
"""Least memory of a CUDA device on which ``auto`` chooses the plan's model."""

_ANOTHER = "model.name=ID chooses another"


def choose_device(name: str) -> torch.device:
    """Return the device of inputs and results: ``auto`` and ``auto_map`` resolved, and checked to exist.

    Raises:
        UsageError: there is no such device.
    """
    if name in ("auto", AUTO_MAP):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"model.device={name!r} is no device; here are: {', '.join(usable_devices())}") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"model.device={name!r} is not there; here are: {', '.join(usable_devices())}")
    return device


def choose_model(name: str, device: torch.device) -> tuple[str, str]:
    """Resolve ``auto``; return the model's name and the reason for the choice."""
    if name != "auto":
        return name, "asked for"
    if device.type != "cuda":
        return DEFAULT_MODEL, f"the default without a CUDA device; {_ANOTHER}"
    memory = torch.cuda.get_device_properties(device).total_memory
    if memory < _PLAN_MODEL_BYTES:
        found = f"{memory / 1e9:.0f} GB, where {PLAN_MODEL} takes 40"
        return DEFAULT_MODEL, f"the default on a CUDA device of {found}; {_ANOTHER}"
    if not is_cached(PLAN_MODEL):
        return DEFAULT_MODEL, f"the default where the Hugging Face cache has no {PLAN_MODEL}; {_ANOTHER}"
    return PLAN_MODEL, f"a CUDA device with {memory / 1e9:.0f} GB and the weights are here"


def load(config: ModelConfig) -> LanguageModel:
    """Load the model that ``config`` names onto its device, and freeze it.

    Raises:
        UsageError: the model does not exist, is gated, damaged or too large, asks for code of its own to be run, or is
            of a kind that is not supported.
    """
    device = choose_device(config.device)
    name, reason = choose_model(config.name, device)
    logger.info("model %s (%s) on %s", name, reason, device)
    gguf = gguf_file(name)
    folder, commit = (dequantized(gguf), "") if gguf else located(name)
    with quiet_transformers(), checked_checkpoint(folder, name) as checkpoint:
        model, tokenizer = _from_pretrained(checkpoint, name, config, device)
    model.requires_grad_(False).eval()
    lm = LanguageModel(
        model=model,
        tokenizer=tokenizer,
        name=name,
        revision=file_hash(gguf) if gguf else commit,
        base_bits=config.base_bits,
        quantisation=quantisation(gguf, folder) if gguf else None,
    )
    check_placement(lm, config.device)
    if lm.is_divided:
        # A gradient from another GPU comes on another stream. Autograd waits for it, and would warn users at length.
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    lm = check_model(lm)
    # A local folder has no commit; it is identified by its embedding matrix.
    return lm if lm.revision else replace(lm, revision=f"matrix-{lm.embedding_hash()}")


def is_on_this_machine(name: str) -> bool:
    """Return whether a model can be loaded without fetching anything.

    Args:
        name: as ``choose_model`` returns it.

    Raises:
        UsageError: there is no such file or folder.
    """
    if _is_asset(name):
        return is_fetched(name)
    return gguf_file(name) is not None or os.path.lexists(name) or is_cached(name)


def num_layers(name: str) -> int | None:
    """Read the number of decoder layers of a model without loading it.

    Args:
        name: as ``choose_model`` returns it.

    Returns:
        None for a model that is not on this machine: nothing is fetched.

    Raises:
        UsageError: there is no such file or folder, or it is damaged or of a kind that is not supported.
    """
    if not is_on_this_machine(name):
        return None
    if gguf := gguf_file(name):
        return int(checked_header(gguf).value("block_count") or 0) or None
    with quiet_transformers(), checked_checkpoint(located(name)[0], name) as checkpoint:
        return int(model_config(checkpoint, name).num_hidden_layers)


def _is_asset(name: str) -> bool:
    return name in ASSETS and ASSETS[name].files[0].name.endswith(".gguf")


def gguf_file(name: str) -> Path | None:
    """Return the GGUF file of a default model or path; None for all other models."""
    if _is_asset(name):
        return next(iter(fetch(name).values()))
    if not name.endswith(".gguf"):
        return None
    gguf = Path(name)
    if not gguf.is_file():
        raise UsageError(f"no GGUF file {name}; give {DEFAULT_MODEL}, a Hugging Face id, a folder or a .gguf file")
    return gguf


def _from_pretrained(checkpoint: Checkpoint, name: str, config: ModelConfig, device: torch.device) -> tuple[Any, Any]:
    """Load model and tokenizer from files that have been checked, and refuse what does not fit together."""
    dtype = fast_dtype(device) if config.dtype == "auto" else getattr(torch, config.dtype)
    if config.dtype == "auto" and dtype == torch.float32:
        logger.info("weights in float32: this CPU has no instructions for bfloat16 (model.dtype)")
    quantized = {} if config.base_bits is None else _quantized(config.base_bits, dtype, device)
    made = model_config(checkpoint, name)
    bits, memory = config.base_bits or 8 * dtype.itemsize, total_memory(config.device, device)
    rows = check_size(made, checkpoint, name, device, memory=memory, bits=bits)
    tokenizer = load_tokenizer(checkpoint, name, made, rows)
    with foreign(f"model {name} cannot be loaded"):
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            config=made,
            dtype=dtype,
            **placement(config.device, device),
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # check_loaded names them
            **OWN_FILES_ALONE,
            **quantized,
        )
    check_loaded(model, info, checkpoint, name)
    check_end_tokens(model, name)
    # Not the folder of links, which is gone when the model is used.
    model.config._name_or_path = tokenizer.name_or_path = name
    return model, tokenizer


def check_base_bits(bits: int | None, device: torch.device) -> None:
    """Refuse ``model.base_bits`` where linear layers cannot be quantised to it.

    Raises:
        UsageError: bitsandbytes is missing, or has no kernels for training on the device.
    """
    if bits is None:
        return
    if find_spec("bitsandbytes") is None:
        raise UsageError(f"model.base_bits={bits} needs bitsandbytes; pip install 'thinwire[quantized]'")
    if bits == 4 and device.type != "cuda":
        # bitsandbytes 0.50 uses fused CPU kernels without a gradient to their input.
        raise UsageError("model.base_bits=4 needs a CUDA device, as 4-bit layers have no gradient on a CPU; use 8")


def _quantized(bits: int, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Return the arguments by which ``from_pretrained`` quantises linear layers (Dettmers et al. 2022,
    arXiv:2208.07339, and 2023, arXiv:2305.14314); output head and embeddings are not quantised."""
    check_base_bits(bits, device)
    in_four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    how = {"load_in_8bit": True} if bits == 8 else {"load_in_4bit": True, **in_four}
    return {"quantization_config": transformers.BitsAndBytesConfig(**how)}
