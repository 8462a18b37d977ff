"""A model's own greedy ``generate()``, with input embeddings other than its own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from thinwire.model.language_model import LanguageModel

_PADDING = 0
"""The token that stands before shorter prompts, where the attention mask is 0, and after answers that have ended."""


def generate(
    lm: LanguageModel,
    matrix: Tensor,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end_ids: Collection[int] = (),
    with_logits: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Continue ``prompts`` together, padded on the left, until each has one of ``end_ids`` or ``max_new_tokens``.

    Args:
        matrix: ``[V, D]``, the input embedding of each token id, for prompts and generated tokens alike.
        with_logits: return logits too.

    Returns:
        ``[B, N]`` int64, the generated tokens, after an end token padding; and the logits ``[B, V]`` of each of them.
    """
    width = max(map(len, prompts))
    ids = torch.tensor([[_PADDING] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=lm.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=lm.device)
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(end_ids) or None,
        pad_token_id=_PADDING,
        return_dict_in_generate=True,
        output_logits=with_logits,
    )
    with _without_own_settings(lm.model), _embedding_by(lm.model, matrix):
        found = lm.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    return found.sequences[:, width:], list(found.logits or [])


@contextmanager
def _without_own_settings(model: Any) -> Iterator[None]:
    """Leave the model's own settings of decoding, such as a repetition penalty, out of account within the block:
    ``generate()`` takes from them whatever it is not told."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


@contextmanager
def _embedding_by(model: Any, matrix: Tensor) -> Iterator[None]:
    """Embed token ids by ``matrix`` within the block: ``generate()`` embeds the tokens that it has generated itself."""
    hook = model.get_input_embeddings().register_forward_hook(lambda _, args, own: matrix[args[0]].to(own.dtype))
    try:
        yield
    finally:
        hook.remove()
