"""The frozen language model: choosing it, loading it, and the three calls that everything else makes of it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from torch import Tensor

from thinwire.assets import ASSETS, fetch
from thinwire.attention import exchanged, packed_arguments
from thinwire.config import ModelConfig
from thinwire.dequantize import dequantized, quiet_transformers
from thinwire.errors import UsageError, summary
from thinwire.packing import Segments, pack
from thinwire.precision import fast_dtype
from thinwire.records import file_hash, read_json

logger = logging.getLogger(__name__)

PLAN_MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct"
DEFAULT_MODEL = "smollm2-135m"
_PLAN_MODEL_BYTES = 40e9
_TOLERANCE = {torch.bfloat16: 0.15, torch.float32: 1e-3}
"""Relative difference of logits between two kernels that compute the same; in bf16 a few per cent. A model of another
kind is far above: scaled logits differ by as much as they are scaled."""


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A causal LM whose weights never change, with its tokenizer. Create it with ``load``."""

    model: Any
    """A ``transformers`` causal LM in evaluation mode, without gradients."""
    tokenizer: Any
    name: str
    """What was loaded: a default's name, a Hugging Face id or a path."""
    revision: str
    """What pins the weights: a GGUF file's SHA-256, the hub's commit, or for a folder the embedding table's SHA-256."""
    base_bits: int | None = None
    """Bits of a weight where the linear layers are quantised (``ModelConfig.base_bits``)."""

    def identity(self) -> dict[str, Any]:
        """What a record says of the model; results of models that differ here must not mix."""
        quantized = {} if self.base_bits is None else {"base_bits": self.base_bits}
        return {"name": self.name, "revision": self.revision, "dtype": str(self.dtype)[6:], **quantized}

    @cached_property
    def table(self) -> Tensor:
        """What the first layer gets for each token, ``[V, D]``, in the model's dtype; not to be written: it may share
        the embeddings' memory. Some models (Gemma) scale their embeddings."""
        weight: Tensor = self.model.get_input_embeddings().weight.detach()
        return weight if self._scale is None else weight * self._scale

    @property
    def _scale(self) -> Tensor | None:
        """What the model multiplies its embeddings by, in their dtype; ``embed_scale`` is transformers' name for it."""
        module = self.model.get_input_embeddings()
        scale: Tensor | None = getattr(module, "embed_scale", None)
        return None if scale is None else torch.as_tensor(scale).to(module.weight)

    def embedding_weights(self, table: Tensor) -> Tensor:
        """The embeddings with which an ordinary checkpoint reads ``table`` ``[V, D]``, up to their rounding."""
        if self._scale is None:
            return table
        if torch.equal(table, self.table):
            own: Tensor = self.model.get_input_embeddings().weight.detach()
            return own
        return (table.float() / self._scale.float()).to(self.dtype)

    def as_read(self, table: Tensor) -> Tensor:
        """``table`` as an exported checkpoint would read it: the same, but where a model scales rounded embeddings."""
        return table if self._scale is None else self.embedding_weights(table) * self._scale

    @property
    def window(self) -> int | None:
        """The number of last tokens that some layers attend to alone; None where all look back over everything."""
        config = self.model.config.get_text_config()
        slides = "sliding_attention" in (getattr(config, "layer_types", None) or ())
        return int(config.sliding_window) if slides else None

    @property
    def device(self) -> torch.device:
        return self.table.device

    @property
    def dtype(self) -> torch.dtype:
        return self.table.dtype

    @property
    def num_layers(self) -> int:
        return int(self.model.config.get_text_config().num_hidden_layers)

    @property
    def num_heads(self) -> int:
        """Heads of queries in a layer."""
        return int(self.model.config.get_text_config().num_attention_heads)

    @property
    def num_key_heads(self) -> int:
        """Heads of keys and values in a layer, each serving as many heads of queries."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "num_key_value_heads", None) or config.num_attention_heads)

    @property
    def has_fixed_steps(self) -> bool:
        """Whether inputs of the same shapes always take the same kernels, and none waits for a number: not where
        rotary embeddings change with the length, or where quantised layers look for outliers."""
        rotary = str(getattr(self.model.config.get_text_config(), "rope_parameters", None))
        return self.base_bits is None and not any(kind in rotary for kind in ("dynamic", "longrope"))

    def table_hash(self) -> str:
        """SHA-256 of the embedding table's bytes: the key of all that is derived from it."""
        raw = self.table.contiguous().cpu().view(torch.uint8).numpy()
        return hashlib.sha256(raw.data).hexdigest()

    def packed_states(self, embeddings: Tensor, positions: Tensor, segments: Segments, cache: Any = None) -> Tensor:
        """Run the decoder without its output head over packed sequences, ``A`` variants of them at once.

        Args:
            embeddings: ``[A, T, D]``, cast to the model's dtype. Each variant (an arm) has its own embeddings of the
                same ``T`` packed tokens, and sees none of the others.
            positions: ``[T]`` int64, of each token in its own sequence.
            segments: who attends to whom among the ``T`` tokens.
            cache: takes each layer's keys and values (transformers' ``Cache``), for decoding.

        Returns:
            ``[A, T, D]``: the last hidden state.
        """
        own = segments.to(self.device).repeated(len(embeddings))
        with exchanged(self.model):
            out = self.model.get_decoder()(
                inputs_embeds=embeddings.to(self.dtype),
                attention_mask=None,
                position_ids=positions.to(self.device)[None],
                past_key_values=cache,
                use_cache=cache is not None,
                **packed_arguments(own, self.dtype),
            )
        hidden: Tensor = out.last_hidden_state
        return hidden

    def next_states(self, embeddings: Tensor, positions: Tensor, key_masks: Sequence[Tensor], cache: Any) -> Tensor:
        """Run the decoder over one more token of each of ``B`` sequences.

        Args:
            embeddings: ``[B, D]``, cast to the model's dtype.
            positions: ``[B]`` int64, of the new token in its sequence.
            key_masks: for some neighbouring sequences after the others, ``[b, s]`` bool: which of its last ``s`` keys
                belong to each, the new token's included.
            cache: holds the keys and values so far, and takes the new ones.

        Returns:
            ``[B, D]``: the last hidden state.
        """
        with exchanged(self.model):
            out = self.model.get_decoder()(
                inputs_embeds=embeddings[:, None].to(self.dtype),
                attention_mask=None,
                position_ids=positions[:, None],
                key_masks=key_masks,
                past_key_values=cache,
                use_cache=True,
            )
        hidden: Tensor = out.last_hidden_state[:, 0]
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """The output head on chosen positions: ``[..., D]`` to ``[..., V]`` in float32."""
        head: Tensor = self.model.get_output_embeddings()(hidden)
        return head.float()

    def stop_ids(self, end_id: int) -> frozenset[int]:
        """Tokens that end an answer: ``end_id`` and the model's own end tokens."""
        own = self.model.generation_config.eos_token_id
        return frozenset({end_id, *([] if own is None else [own] if isinstance(own, int) else own)})


def choose_device(name: str) -> torch.device:
    """Resolve ``auto`` and check that the device exists."""
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
    """Resolve ``auto``; returns the model's name and the reason for the choice."""
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
    """Whether all weights of a Hugging Face model are in the local cache."""
    if isinstance(try_to_load_from_cache(repo, "model.safetensors"), str):
        return isinstance(try_to_load_from_cache(repo, "config.json"), str)
    index = try_to_load_from_cache(repo, "model.safetensors.index.json")
    if not isinstance(index, str):
        return False
    shards = set(read_json(Path(index))["weight_map"].values())
    return all(isinstance(try_to_load_from_cache(repo, file), str) for file in (*shards, "config.json"))


def load(config: ModelConfig) -> LanguageModel:
    """Load the model that ``config`` names, frozen, on its device.

    Raises:
        UsageError: the model does not exist, is gated, or its output head is more than a matrix product.
    """
    device = choose_device(config.device)
    name, reason = choose_model(config.name, device)
    logger.info("model %s (%s) on %s", name, reason, device)
    path, revision = _locate(name)
    with quiet_transformers():
        model, tokenizer = _from_pretrained(path, name, config, device)
    model.requires_grad_(False).eval()
    commit = getattr(model.config, "_commit_hash", None)
    lm = LanguageModel(
        model=model, tokenizer=tokenizer, name=name, revision=revision or commit or "", base_bits=config.base_bits
    )
    _check_states(lm)
    # A folder of one's own has no commit; its embedding table tells it from another.
    return lm if lm.revision else replace(lm, revision=f"table-{lm.table_hash()}")


def _locate(name: str) -> tuple[str, str | None]:
    """Where ``from_pretrained`` finds the model, and what pins its weights (null: the hub's commit)."""
    if name in ASSETS and ASSETS[name].files[0].name.endswith(".gguf"):
        gguf = next(iter(fetch(name).values()))
        return str(dequantized(gguf)), file_hash(gguf)
    if name.endswith(".gguf"):
        gguf = Path(name)
        if not gguf.is_file():
            raise UsageError(f"no GGUF file {name}; give {DEFAULT_MODEL}, a Hugging Face id, a folder or a .gguf file")
        return str(dequantized(gguf)), file_hash(gguf)
    return name, None


def _from_pretrained(path: str, name: str, config: ModelConfig, device: torch.device) -> tuple[Any, Any]:
    dtype = fast_dtype(device) if config.dtype == "auto" else getattr(torch, config.dtype)
    if config.dtype == "auto" and dtype == torch.float32:
        logger.info("weights in float32: this processor has no instructions for bfloat16 (model.dtype)")
    quantized = {} if config.base_bits is None else _quantized(config.base_bits, dtype, device)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, device_map={"": device}, **quantized
        )
    except (OSError, ValueError, HFValidationError) as error:
        raise UsageError(_remedy(name, error)) from error
    return model, tokenizer


def _quantized(bits: int, dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """What ``from_pretrained`` is told to quantise linear layers by (Dettmers et al. 2022, arXiv:2208.07339, and 2023,
    arXiv:2305.14314); output head and embeddings stay as they are."""
    if find_spec("bitsandbytes") is None:
        raise UsageError(f"model.base_bits={bits} needs bitsandbytes; pip install 'thinwire[quantized]'")
    if bits == 4 and device.type != "cuda":
        # bitsandbytes 0.50 answers by fused kernels there, through which no gradient reaches what lies below.
        raise UsageError("model.base_bits=4 needs a CUDA device, as 4-bit layers have no gradient on a CPU; use 8")
    in_four = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    how = {"load_in_8bit": True} if bits == 8 else {"load_in_4bit": True, **in_four}
    return {"quantization_config": transformers.BitsAndBytesConfig(**how)}


def _remedy(name: str, error: BaseException) -> str:
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


def _check_states(lm: LanguageModel) -> None:
    """Refuse models for which packed sequences and a bare output head give other logits than the model itself."""
    stride, vocabulary = 97, lm.table.shape[0]
    sequences = [[(start + stride * i) % vocabulary for i in range(20)] for start in (11, 12)]
    sequences += [[*sequences[0][:17], 5, 6]]
    packed = pack(sequences)
    # Quantised layers round what passes through them, whatever type it has.
    tolerance = _TOLERANCE[torch.bfloat16 if lm.base_bits else lm.dtype]
    with torch.no_grad():
        embeddings = lm.table[torch.from_numpy(packed.ids).to(lm.device)][None]
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
