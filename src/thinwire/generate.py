"""Batched greedy decoding that equals decoding each prompt alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from transformers import DynamicCache

from thinwire.model import LanguageModel

StopReason = Literal["end", "newline", "length"]


@dataclass(frozen=True, kw_only=True)
class StopRule:
    """When an answer is over."""

    end_ids: frozenset[int]
    """Tokens that end the answer and are no part of it."""
    newline_ids: frozenset[int]
    """Tokens that contain a line end; they end an answer to a plain prompt, which has no end token of its own."""
    max_new_tokens: int


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What followed one prompt."""

    ids: tuple[int, ...]
    """Generated tokens, the end token left out."""
    stop_reason: StopReason


@torch.no_grad()
def greedy(lm: LanguageModel, table: Tensor, prompts: Sequence[Sequence[int]], rule: StopRule) -> list[Continuation]:
    """Continue each prompt with the likeliest token until ``rule`` says stop.

    Args:
        table: ``[V, D]``, what the model reads for each token id, in prompts and in its own answers alike.
        prompts: token ids, of any lengths. They are right-padded; padding is masked, never attended to and never the
            position that a next token is read from, whichever id it has.
    """
    device = lm.device
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    width = int(lengths.max())
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    mask = (torch.arange(width, device=device) < lengths[:, None]).long()
    cache = DynamicCache(config=lm.model.config)
    out = lm.hidden_states(table[ids.to(device)], mask, past_key_values=cache, use_cache=True)
    hidden = out.last_hidden_state[torch.arange(len(prompts), device=device), lengths - 1]

    answers: list[list[int]] = [[] for _ in prompts]
    reasons: list[StopReason] = ["length"] * len(prompts)
    live = list(range(len(prompts)))  # the prompt that each row of the cache belongs to
    active = set(live)
    for step in range(1, rule.max_new_tokens + 1):
        chosen = lm.logits(hidden).argmax(-1)
        for prompt_index, token in zip(live, chosen.tolist(), strict=True):
            if prompt_index not in active:
                continue
            if token in rule.end_ids:
                reasons[prompt_index] = "end"
                active.discard(prompt_index)
                continue
            answers[prompt_index].append(token)
            if token in rule.newline_ids:
                reasons[prompt_index] = "newline"
                active.discard(prompt_index)
        if not active or step == rule.max_new_tokens:
            break
        if len(active) < 0.75 * len(live):  # finished rows leave once they are worth the copy of the cache
            keep = torch.tensor([row for row, index in enumerate(live) if index in active], device=device)
            cache.batch_select_indices(keep)
            chosen, mask = chosen[keep], mask[keep]
            live = [index for index in live if index in active]
        mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
        out = lm.hidden_states(table[chosen][:, None], mask, past_key_values=cache, use_cache=True)
        hidden = out.last_hidden_state[:, 0]
    return [Continuation(ids=tuple(a), stop_reason=r) for a, r in zip(answers, reasons, strict=True)]
