"""The frozen language model: its properties, and its forward calls for training and decoding."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from thinwire.config.settings import AUTO_MAP
from thinwire.ops.packing import Segments
from thinwire.ops.padding import padded_states
from thinwire.ops.segment_attention import packed_arguments, patched_attention
from thinwire.results.arm_record import ModelIdentity, ModelShape

logger = logging.getLogger(__name__)

_HASHED_NUMBERS = 1_024
"""Numbers of a weight that its part of ``layers_hash`` is of, or as many as it has."""

Batching = Literal["packed", "padded", "equal"]
"""How sequences of several lengths are computed together: ``packed`` into one row, with attention of Thinwire's own;
or by the model's own forward pass and ``generate()``, in training padded on the right, in decoding padded on the left
(``padded``) or only those of equal length together (``equal``)."""


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A causal LM with frozen weights, and its tokenizer. Create it with ``thinwire.model.loading.load``."""

    model: Any
    """A ``transformers`` causal LM in evaluation mode, its weights without gradients."""
    tokenizer: Any
    name: str
    """The name it was loaded by: a default model's name, a Hugging Face id or a path."""
    revision: str
    """Identifies the weights: SHA-256 of a GGUF file, the hub's commit, or SHA-256 of a folder's embedding matrix."""
    base_bits: int | None = None
    """Bits per weight of quantised linear layers (``ModelConfig.base_bits``); None if they are not quantised."""
    quantisation: str | None = None
    """How the file that the weights were read from stores most of them if it is quantised (``Q4_1``); else None."""
    batching: Batching = "packed"
    """What ``thinwire.model.support.check_model`` finds that the model can do."""

    def identity(self) -> ModelIdentity:
        """Return the model's entry in arm records."""
        return ModelIdentity(
            name=self.name,
            revision=self.revision,
            dtype=str(self.dtype).removeprefix("torch."),
            base_bits=self.base_bits,
        )

    @cached_property
    def embedding_matrix(self) -> Tensor:
        """The embeddings that the first layer gets, ``[V, D]``, in the model's dtype: the embedding weights, scaled if
        the model scales them (Gemma). Read-only, as it may share the weights' memory."""
        weight: Tensor = self.model.get_input_embeddings().weight.detach()
        return weight if self._scale is None else weight * self._scale

    @property
    def _scale(self) -> Tensor | None:
        """The factor by which the model scales its embeddings (transformers' ``embed_scale``), in their dtype."""
        module = self.model.get_input_embeddings()
        scale: Tensor | None = getattr(module, "embed_scale", None)
        return None if scale is None else torch.as_tensor(scale).to(module.weight)

    def embedding_weights(self, matrix: Tensor) -> Tensor:
        """Return a checkpoint's embedding weights for the embedding matrix ``matrix`` ``[V, D]``, up to rounding."""
        if self._scale is None:
            return matrix
        if torch.equal(matrix, self.embedding_matrix):
            own: Tensor = self.model.get_input_embeddings().weight.detach()
            return own
        return (matrix.float() / self._scale.float()).to(self.dtype)

    def as_exported(self, matrix: Tensor) -> Tensor:
        """Return the embedding matrix of a checkpoint exported with ``matrix``: equal to it, except for the rounding of
        weights in a model that scales them."""
        return matrix if self._scale is None else self.embedding_weights(matrix) * self._scale

    @property
    def window(self) -> int | None:
        """The sliding window of some layers, in tokens, that packed sequences have to fit; None if all layers attend to
        all earlier tokens, or sequences are not packed: the model's own attention has its window."""
        if not self.packs:
            return None
        config = self.model.config.get_text_config()
        kinds = getattr(config, "layer_types", None)
        # A model that does not list the kinds of its layers uses the window in all of them (Mistral).
        slides = "sliding_attention" in kinds if kinds else getattr(config, "use_sliding_window", True)
        window = getattr(config, "sliding_window", None)
        return int(window) if slides and window is not None else None

    @property
    def most_positions(self) -> int | None:
        """Most tokens of a sequence, prompt and answer, in which every position is encoded alike in training and
        decoding; None if the model sets no limit.

        It is the length that the model was made for. Rotary frequencies that change with the length (``dynamic``,
        ``longrope``) do so from the original length on, for all sequences that are computed together.
        """
        config = self.model.config.get_text_config()
        rotary = getattr(config, "rope_parameters", None) or {}
        original = rotary.get("original_max_position_embeddings") if "longrope" in str(rotary) else None
        limits = [getattr(config, "max_position_embeddings", None), original]
        return min((int(limit) for limit in limits if limit is not None), default=None)

    @property
    def longest_sequence(self) -> int | None:
        """Most tokens, prompt and answer, that are read at once: ``window`` or ``most_positions``, the smaller; None if
        the model sets no limit."""
        return min((limit for limit in (self.window, self.most_positions) if limit is not None), default=None)

    @property
    def device(self) -> torch.device:
        """The device of the embedding matrix: inputs and results of all calls are on it."""
        return self.embedding_matrix.device

    @cached_property
    def layers(self) -> list[nn.Module]:
        """The decoder's layers: its longest ``ModuleList``."""
        lists = [list(module) for module in self.model.get_decoder().modules() if isinstance(module, nn.ModuleList)]
        return max(lists, key=len, default=[])

    @cached_property
    def layers_by_device(self) -> Counter[torch.device]:
        """The number of layers on each device. Several devices have some with ``model.device=auto_map``."""
        return Counter(next(layer.parameters()).device for layer in self.layers)

    @property
    def devices(self) -> list[torch.device]:
        """All devices that have a part of the model, ``device`` first."""
        return list(dict.fromkeys([self.device, *(parameter.device for parameter in self.model.parameters())]))

    @property
    def is_divided(self) -> bool:
        """Whether parts of the model are on several devices."""
        return len({parameter.device for parameter in self.model.parameters()}) > 1

    def shape(self) -> ModelShape:
        """Return the sizes that the cost of a prompt follows from."""
        return ModelShape(
            layer_weights=sum(_num_weights(module) for layer in self.layers for module in layer.modules()),
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_key_heads=self.num_key_heads,
            head_width=self.head_width,
            bytes_per_number=self.dtype.itemsize,
        )

    @property
    def device_setting(self) -> str:
        """The value of ``model.device`` that loads another model to where this one is."""
        return AUTO_MAP if self.is_divided else str(self.device)

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding_matrix.dtype

    @property
    def num_layers(self) -> int:
        return int(self.model.config.get_text_config().num_hidden_layers)

    @property
    def num_heads(self) -> int:
        """Number of query heads in a layer; 0 in a model without attention."""
        return int(getattr(self.model.config.get_text_config(), "num_attention_heads", 0))

    @property
    def num_key_heads(self) -> int:
        """Number of key-value heads in a layer; each serves an equal number of query heads."""
        return int(getattr(self.model.config.get_text_config(), "num_key_value_heads", None) or self.num_heads)

    @property
    def head_width(self) -> int:
        """Numbers in a key or value of one head."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "head_dim", None) or config.hidden_size // max(1, self.num_heads))

    @property
    def packs(self) -> bool:
        """Whether sequences are packed."""
        return self.batching == "packed"

    @property
    def has_fixed_steps(self) -> bool:
        """Whether inputs of the same shapes always run the same kernels of one device, without waiting for a value on
        the CPU. That fails if rotary embeddings change with the length, quantised layers search for outliers, or the
        model's own forward pass computes padded batches."""
        rotary = str(getattr(self.model.config.get_text_config(), "rope_parameters", None))
        changes = any(kind in rotary for kind in ("dynamic", "longrope"))
        return self.packs and self.base_bits is None and not changes and not self.is_divided

    def embedding_hash(self) -> str:
        """Return the SHA-256 of the embedding matrix's bytes, the cache key of everything derived from it."""
        raw = self.embedding_matrix.contiguous().cpu().view(torch.uint8).numpy()
        return hashlib.sha256(raw.data).hexdigest()

    def layers_hash(self) -> str:
        """Return a SHA-256 of some numbers of each weight of the decoder's layers: a quick cache key of what is trained
        through them, as a fine-tuned model may keep its embedding matrix. The same on every device."""
        digest = hashlib.sha256()
        for number, layer in enumerate(self.layers):
            for name, tensor in layer.state_dict().items():
                numbers = tensor.detach().reshape(-1)
                some = numbers[:: max(1, len(numbers) // _HASHED_NUMBERS)].contiguous().cpu().view(torch.uint8)
                digest.update(f"{number} {name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
                digest.update(some.numpy().data)
        return digest.hexdigest()

    def packed_states(self, embeddings: Tensor, positions: Tensor, segments: Segments, cache: Any = None) -> Tensor:
        """Run the decoder, without its output head, over packed sequences, in ``A`` variants at once.

        Args:
            embeddings: ``[A, T, D]``, cast to the model's dtype. Each variant (an arm) has its own embeddings of the
                same ``T`` packed tokens; variants do not attend to each other.
            positions: ``[T]`` int64, each token's position in its own sequence.
            segments: which of the ``T`` tokens attend to which.
            cache: transformers' ``Cache``; stores each layer's keys and values for decoding. Only if the model packs.

        Returns:
            ``[A, T, D]``: the last hidden state.
        """
        if not self.packs:
            return padded_states(self._own_states, embeddings.to(self.dtype), segments)
        own = segments.to(self.device).repeated(len(embeddings))
        with patched_attention(self.model):
            out = self.model.get_decoder()(
                inputs_embeds=embeddings.to(self.dtype),
                attention_mask=None,
                position_ids=positions.to(self.device)[None],
                past_key_values=cache,
                use_cache=cache is not None,
                **packed_arguments(own, self.dtype),
            )
        hidden: Tensor = out.last_hidden_state
        return hidden.to(self.device)

    def _own_states(self, embeddings: Tensor) -> Tensor:
        """Run the decoder with its own attention over ``[B, T, D]``; returns its last hidden state, ``[B, T, D]``."""
        out = self.model.get_decoder()(inputs_embeds=embeddings, use_cache=False)
        hidden: Tensor = out.last_hidden_state
        return hidden.to(self.device)

    def next_states(self, embeddings: Tensor, positions: Tensor, key_masks: Sequence[Tensor], cache: Any) -> Tensor:
        """Run the decoder, without its output head, over the next token of each of ``B`` sequences.

        Args:
            embeddings: ``[B, D]``, cast to the model's dtype.
            positions: ``[B]`` int64, the new token's position in its sequence.
            key_masks: one mask ``[b, s]`` bool for each run of ``b`` neighbouring sequences: which of the last ``s``
                keys in the cache belong to each sequence, the new token's included.
            cache: holds the keys and values so far; the new ones are added.

        Returns:
            ``[B, D]``: the last hidden state.
        """
        with patched_attention(self.model):
            out = self.model.get_decoder()(
                inputs_embeds=embeddings[:, None].to(self.dtype),
                attention_mask=None,
                position_ids=positions[:, None],
                key_masks=key_masks,
                past_key_values=cache,
                use_cache=True,
            )
        hidden: Tensor = out.last_hidden_state[:, 0]
        return hidden.to(self.device)

    def logits(self, hidden: Tensor) -> Tensor:
        """Apply the output head, and the model's scale and cap of logits: hidden states ``[..., D]`` to logits
        ``[..., V]`` in float32."""
        head = self.model.get_output_embeddings()
        # Mamba's hidden state is float32, whatever the weights are.
        logits: Tensor = head(hidden.to(head.weight.dtype)).float().to(self.device)
        if self._logit_scale != 1:
            logits = logits * self._logit_scale
        cap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @cached_property
    def _logit_scale(self) -> float:
        """The factor of logits by the names that configurations have for it (Cohere, Granite); 1 for most models."""
        config = self.model.config.get_text_config()
        return float(getattr(config, "logit_scale", None) or 1) / float(getattr(config, "logits_scaling", None) or 1)

    def stop_ids(self, end_id: int) -> frozenset[int]:
        """Return the tokens that end an answer: ``end_id`` and the model's own end tokens."""
        own = self.model.generation_config.eos_token_id
        return frozenset({end_id, *([] if own is None else [own] if isinstance(own, int) else own)})


def _num_weights(module: nn.Module) -> int:
    """Count the weights of a module's own matrices, without those of its children."""
    inputs, outputs = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if isinstance(inputs, int) and isinstance(outputs, int):
        return inputs * outputs  # quantised weights are packed: several in a number
    return sum(parameter.numel() for parameter in module.parameters(recurse=False) if parameter.dim() > 1)
