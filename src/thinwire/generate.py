"""Batched greedy decoding that equals decoding each prompt alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Cache

from thinwire.attention import exchanged
from thinwire.model import LanguageModel
from thinwire.packing import pack
from thinwire.replay import replayed

StopReason = Literal["end", "newline", "length"]

_LEAST_LIVE = {"cuda": 0.1, "cpu": 0.75}
"""Share of unfinished rows below which finished ones leave the batch: it takes a copy of the cache, and on a GPU a new
graph, which cost more steps there."""

_ALIGNED = 8
"""The number of keys is a multiple of this: GPUs' fast matrix products want rows that begin at 16 bytes."""


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
        prompts: token ids, of any lengths. What several begin with is computed once, so give like prompts together.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    reasons: list[StopReason] = ["length"] * len(prompts)
    with exchanged(lm.model):
        cache, hidden = _read(lm, table, prompts, room=rule.max_new_tokens - 1)
        chosen = lm.logits(hidden).argmax(-1)
        advance = _advance(lm, table, cache, chosen)
        live = list(range(len(prompts)))  # the prompt that each row of the cache belongs to
        active = set(live)
        for step in range(1, rule.max_new_tokens + 1):
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
            if len(active) < _LEAST_LIVE["cuda" if lm.device.type == "cuda" else "cpu"] * len(live):
                keep = torch.tensor([row for row, index in enumerate(live) if index in active], device=lm.device)
                cache.keep(keep)
                chosen = chosen[keep]
                advance = _advance(lm, table, cache, chosen)
                live = [index for index in live if index in active]
            advance()
    return [Continuation(ids=tuple(a), stop_reason=r) for a, r in zip(answers, reasons, strict=True)]


def _advance(lm: LanguageModel, table: Tensor, cache: _Rows, chosen: Tensor) -> Callable[[], None]:
    """A step that reads the tokens of ``chosen`` ``[B]``, one for each row of ``cache``, and puts the next in their
    place."""

    def step() -> None:
        positions = cache.grow()
        hidden = lm.next_states(table[chosen], positions, cache.mask, cache)
        chosen.copy_(lm.logits(hidden).argmax(-1))

    return replayed(step, lm.device) if lm.has_fixed_steps else step


def _read(lm: LanguageModel, table: Tensor, prompts: Sequence[Sequence[int]], room: int) -> tuple[_Rows, Tensor]:
    """Read the prompts, packed. Returns a cache with a row for each prompt and ``room`` for more tokens, and the last
    hidden state of each prompt, ``[B, D]``."""
    packed, taken = pack(prompts), _Taken()
    embeddings = table[torch.from_numpy(packed.ids).to(lm.device)][None]
    hidden = lm.packed_states(embeddings, torch.from_numpy(packed.positions), packed.segments, taken)[0]
    ends = torch.from_numpy(np.array([rows[-1] for rows in packed.rows])).to(lm.device)
    return _Rows(taken.taken, packed.rows, room), hidden[ends]


class _Taken(Cache):  # type: ignore[misc]
    """Takes the keys and values of packed prompts as they are, ``[1, G, T, d]`` a layer."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.taken: list[tuple[Tensor, Tensor]] = []

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.taken.append((key, value))
        return key, value


class _Rows(Cache):  # type: ignore[misc]
    """Keys and values with a row for each sequence, ``[B, G, S, d]`` a layer, ``S`` the longest prompt and the room for
    its answer. New tokens are written into one column, right of the longest prompt, for all rows alike."""

    def __init__(self, packed: list[tuple[Tensor, Tensor]], rows: Sequence[NDArray[np.int64]], room: int) -> None:
        super().__init__(layers=[])
        device = packed[0][0].device
        lengths = np.array([len(one) for one in rows])
        width = int(lengths.max())
        where = np.zeros((len(rows), width), dtype=np.int64)  # padding repeats a row, and is masked
        mask = np.zeros((len(rows), -(-(width + room) // _ALIGNED) * _ALIGNED), dtype=np.bool_)
        mask[:, :width] = np.arange(width) < lengths[:, None]
        where[mask[:, :width]] = np.concatenate(rows)
        self.mask = torch.from_numpy(mask).to(device)
        """``[B, S]`` bool: which keys belong to each sequence."""
        self._lengths = torch.from_numpy(lengths).to(device)
        self._column = torch.tensor([width - 1], device=device)
        at = torch.from_numpy(where).to(device)
        self._kept = [(self._spread(keys, at), self._spread(values, at)) for keys, values in packed]

    def _spread(self, packed: Tensor, where: Tensor) -> Tensor:
        (batch, width), (_, groups, _, size) = where.shape, packed.shape
        buffer = packed.new_zeros(batch, groups, self.mask.shape[1], size)  # masked or not, values must be numbers
        buffer[:, :, :width] = packed[0].transpose(0, 1)[where].transpose(1, 2)
        return buffer

    def grow(self) -> Tensor:
        """Begin one more token. Returns its position in each sequence, ``[B]``."""
        self._column += 1
        self.mask.index_fill_(1, self._column, True)
        self._lengths += 1
        return self._lengths - 1

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the new token's keys and values; returns all, with room for later ones."""
        keys, values = self._kept[layer]
        return keys.index_copy_(2, self._column, key), values.index_copy_(2, self._column, value)

    def keep(self, rows: Tensor) -> None:
        """Drop all sequences but these."""
        self._kept = [(keys[rows], values[rows]) for keys, values in self._kept]
        self.mask, self._lengths = self.mask[rows], self._lengths[rows]
