"""Find, load and check a causal LM."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from thinwire.assets import ASSETS, fetch
from thinwire.config.settings import ModelConfig
from thinwire.errors import UsageError, summary
from thinwire.files import file_hash
from thinwire.model.gguf import dequantized, quantisation
from thinwire.model.language_model import LanguageModel, logger
from thinwire.model.quiet import quiet_transformers
from thinwire.ops.device import fast_dtype
from thinwire.ops.packing import pack
from thinwire.reading import read_json

PLAN_MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct"
"""The model of the plan's experiment (docs/plan.md)."""

DEFAULT_MODEL = "smollm2-135m"
"""The model that ``auto`` chooses where the plan's model cannot run."""

_PLAN_MODEL_BYTES = 40e9
"""Least memory of a CUDA device on which ``auto`` chooses the plan's model."""

_TOLERANCE = {torch.bfloat16: 0.15, torch.float32: 1e-3}
"""Largest relative difference of logits that is taken for rounding; in bf16 two kernels differ by a few per cent. An
unsupported model differs by far more: scaled logits, by their scale."""


def choose_device(name: str) -> torch.device:
    """Resolve ``auto`` and check that the device exists.

    Raises:
        UsageError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"model.device={name!r} is no device; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"model.device={name!r}, but torch sees {torch.cuda.device_count()} CUDA devices; use cpu")
    return device


def choose_model(name: str, device: torch.device) -> tuple[str, str]:
    """Resolve ``auto``; return the model's name and the reason for the choice."""
    if name != "auto":
        return name, "asked for"
    if device.type != "cuda":
        return DEFAULT_MODEL, f"no CUDA device for {PLAN_MODEL}"
    memory = torch.cuda.get_device_properties(device).total_memory
    if memory < _PLAN_MODEL_BYTES:
        return DEFAULT_MODEL, f"the CUDA device has {memory / 1e9:.0f} GB, {PLAN_MODEL} takes 40"
    if not is_cached(PLAN_MODEL):
        return DEFAULT_MODEL, f"{PLAN_MODEL} is not in the local Hugging Face cache"
    return PLAN_MODEL, f"a CUDA device with {memory / 1e9:.0f} GB and the weights are here"


def is_cached(repo: str) -> bool:
    """Return whether all weights of a Hugging Face model are in the local cache."""
    if isinstance(try_to_load_from_cache(repo, "model.safetensors"), str):
        return isinstance(try_to_load_from_cache(repo, "config.json"), str)
    index = try_to_load_from_cache(repo, "model.safetensors.index.json")
    if not isinstance(index, str):
        return False
    shards = set(read_json(Path(index))["weight_map"].values())
    return all(isinstance(try_to_load_from_cache(repo, file), str) for file in (*shards, "config.json"))


def load(config: ModelConfig) -> LanguageModel:
    """Load the model that ``config`` names onto its device, and freeze it.

    Raises:
        UsageError: the model does not exist, is gated, or its attention or logits are not supported.
    """
    device = choose_device(config.device)
    name, reason = choose_model(config.name, device)
    logger.info("model %s (%s) on %s", name, reason, device)
    gguf = _gguf_file(name)
    path = str(dequantized(gguf)) if gguf else name
    with quiet_transformers():
        model, tokenizer = _from_pretrained(path, name, config, device)
    model.requires_grad_(False).eval()
    commit = getattr(model.config, "_commit_hash", None)  # the only place where transformers keeps the hub's commit
    lm = LanguageModel(
        model=model,
        tokenizer=tokenizer,
        name=name,
        revision=file_hash(gguf) if gguf else commit or "",
        base_bits=config.base_bits,
        quantisation=quantisation(gguf, Path(path)) if gguf else None,
    )
    check_logits(lm)
    # A local folder has no commit; it is identified by its embedding matrix.
    return lm if lm.revision else replace(lm, revision=f"matrix-{lm.embedding_hash()}")


def _gguf_file(name: str) -> Path | None:
    """Return the GGUF file of a default model or path; None for all other models."""
    if name in ASSETS and ASSETS[name].files[0].name.endswith(".gguf"):
        return next(iter(fetch(name).values()))
    if not name.endswith(".gguf"):
        return None
    gguf = Path(name)
    if not gguf.is_file():
        raise UsageError(f"no GGUF file {name}; give {DEFAULT_MODEL}, a Hugging Face id, a folder or a .gguf file")
    return gguf


def _from_pretrained(path: str, name: str, config: ModelConfig, device: torch.device) -> tuple[Any, Any]:
    """Load model and tokenizer; turn the libraries' errors into ``UsageError``."""
    dtype = fast_dtype(device) if config.dtype == "auto" else getattr(torch, config.dtype)
    if config.dtype == "auto" and dtype == torch.float32:
        logger.info("weights in float32: this CPU has no instructions for bfloat16 (model.dtype)")
    quantized = {} if config.base_bits is None else _quantized(config.base_bits, dtype, device)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, device_map={"": device}, **quantized
        )
    except (OSError, ValueError, HFValidationError) as error:
        raise UsageError(load_error_message(name, error)) from error
    return model, tokenizer


def _quantized(bits: int, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """Return the arguments by which ``from_pretrained`` quantises linear layers (Dettmers et al. 2022,
    arXiv:2208.07339, and 2023, arXiv:2305.14314); output head and embeddings are not quantised."""
    if find_spec("bitsandbytes") is None:
        raise UsageError(f"model.base_bits={bits} needs bitsandbytes; pip install 'thinwire[quantized]'")
    if bits == 4 and device.type != "cuda":
        # bitsandbytes 0.50 uses fused CPU kernels without a gradient to their input.
        raise UsageError("model.base_bits=4 needs a CUDA device, as 4-bit layers have no gradient on a CPU; use 8")
    in_four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    how = {"load_in_8bit": True} if bits == 8 else {"load_in_4bit": True, **in_four}
    return {"quantization_config": transformers.BitsAndBytesConfig(**how)}


def load_error_message(name: str, error: BaseException) -> str:
    """Return the message for a model ``name`` that transformers failed to load with ``error``: cause and remedy."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return (
            f"model {name} is gated: accept its licence at https://huggingface.co/{name}, "
            f"then run `hf auth login`; or use --set model.name={DEFAULT_MODEL}"
        )
    if Path(name).is_dir():
        return f"the folder {name} holds no checkpoint that transformers can load ({summary(error)})"
    if any(isinstance(cause, (RepositoryNotFoundError, HFValidationError)) for cause in causes):
        return f"no model {name} on the Hugging Face hub and no such folder; check the name, or use {DEFAULT_MODEL}"
    if any(isinstance(cause, (LocalEntryNotFoundError, ConnectionError, OSError)) for cause in causes):
        return (
            f"model {name} is no local folder and the Hugging Face hub did not give it ({summary(error)}); "
            f"check the name and the network, or use {DEFAULT_MODEL}"
        )
    return f"model {name} cannot be loaded as a causal LM ({summary(error)})"


def check_logits(lm: LanguageModel) -> None:
    """Compare logits of packed sequences (``packed_states``, then the output head) with the model's own.

    Raises:
        UsageError: they differ by more than rounding, so the model is not supported.
    """
    stride, vocabulary = 97, lm.embedding_matrix.shape[0]
    sequences = [[(start + stride * i) % vocabulary for i in range(20)] for start in (11, 12)]
    sequences += [[*sequences[0][:17], 5, 6]]
    packed = pack(sequences)
    # Quantised layers round their inputs, whatever the dtype.
    tolerance = _TOLERANCE[torch.bfloat16 if lm.base_bits else lm.dtype]
    with torch.no_grad():
        embeddings = lm.embedding_matrix[torch.from_numpy(packed.ids).to(lm.device)][None]
        hidden = lm.packed_states(embeddings, torch.from_numpy(packed.positions), packed.segments)[0]
        for sequence, rows in zip(sequences, packed.rows, strict=True):
            ids = torch.tensor([sequence], device=lm.device)
            expected = lm.model(input_ids=ids, use_cache=False).logits[0].float()
            ours = lm.logits(hidden[torch.from_numpy(rows).to(lm.device)])
            error = float((ours - expected).norm() / expected.norm())
            if not error < tolerance:
                raise UsageError(
                    f"{lm.name}: its logits are not output head x last hidden state of the embeddings (relative "
                    f"difference {error:.2g}); scaled or capped logits and attention other than "
                    "causal softmax attention are not supported yet"
                )
