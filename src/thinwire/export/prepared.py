"""What every form of an export needs of an arm: its parts, its embedding matrix, and where its answers end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import transformers
from torch import Tensor

from thinwire.checkpoints.load import ArmParts, FinishedArm, load_parts
from thinwire.data.prompts import PromptEncoder
from thinwire.model.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class PreparedArm:
    """A finished arm with its model loaded, ready to be written: once, as that changes the model."""

    arm: FinishedArm
    parts: ArmParts
    matrix: Tensor
    """``[V, D]`` in the model's dtype: the embeddings that the first layer gets for tokens."""
    encoder: PromptEncoder

    @property
    def lm(self) -> LanguageModel:
        """The model without LoRA and with its own embeddings."""
        return self.parts.lm

    @property
    def block_size(self) -> int | None:
        """Tokens in a block of the context; None if the arm reads tokens."""
        return self.arm.config.blocks.size if self.arm.config.input == "blocks" else None

    @cached_property
    def is_rebuilt(self) -> bool:
        """Whether the embedding matrix is another one than the model's own."""
        return not torch.equal(self.matrix, self.lm.embedding_matrix)

    @cached_property
    def head_is_tied(self) -> bool:
        """Whether the model's output head is the same matrix as its input embeddings."""
        model = self.lm.model
        head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        return bool(head.data_ptr() == embeddings.data_ptr())

    @property
    def untied_bytes(self) -> int:
        """Bytes that an export takes more than the model, because the head can no longer share its matrix."""
        return self.matrix.numel() * self.matrix.element_size() if self.is_rebuilt and self.head_is_tied else 0

    @property
    def end_ids(self) -> list[int]:
        """The tokens that end an answer: that of the prompt's style first, then the model's own in order."""
        own = sorted(self.lm.stop_ids(self.encoder.end_id) - {self.encoder.end_id})
        return [self.encoder.end_id, *own]


def prepare(arm: FinishedArm) -> PreparedArm:
    """Load an arm to be exported; one that was trained over quantised weights with the original ones.

    Raises:
        UsageError: the available model is not the one that the arm was trained on.
        ThinwireError: a file of the arm is missing or damaged.
    """
    parts = load_parts(replace(arm, model=arm.model.model_copy(update={"base_bits": None})))
    encoder = arm.prompt_encoder(parts.lm.tokenizer)
    return PreparedArm(arm=arm, parts=parts, matrix=parts.inputs.matrix(parts.lm.dtype), encoder=encoder)


def folded(prepared: PreparedArm) -> Any:
    """Return the model with LoRA merged and with the arm's embeddings, changed in place.

    The output head stays the original matrix. Where the arm's embeddings are the model's own, a tied head stays tied.
    """
    embeddings = prepared.lm.embedding_weights(prepared.matrix).clone() if prepared.is_rebuilt else None
    lm = prepared.lm if prepared.parts.factors is None else prepared.parts.with_lora(merge=True)
    model: Any = lm.model
    if embeddings is not None:
        head = model.get_output_embeddings()
        # A tied head shares memory with the embeddings: copy it before they change.
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        model.get_input_embeddings().weight = torch.nn.Parameter(embeddings, requires_grad=False)
        model.config.get_text_config().tie_word_embeddings = model.config.tie_word_embeddings = False
    return model


def generation_config(prepared: PreparedArm) -> Any:
    """Return transformers' settings of generation that answer as the arm was scored: greedily, to the same end tokens.

    The base model's own settings are not taken over: its end token may be another than the one that the prompts end
    with, and its sampling was not scored.
    """
    ends, tokenizer = prepared.end_ids, prepared.lm.tokenizer
    pad = tokenizer.pad_token_id
    return transformers.GenerationConfig(
        do_sample=False,
        max_new_tokens=prepared.arm.config.evaluation.max_new_tokens,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=ends[0] if pad is None else pad,
        bos_token_id=tokenizer.bos_token_id,
    )
