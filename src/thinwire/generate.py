"""Batched greedy decoding that equals decoding each prompt alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Cache

from thinwire.attention import exchanged
from thinwire.model import LanguageModel
from thinwire.packing import Packed, pack
from thinwire.replay import Replayer

StopReason = Literal["end", "newline", "length"]

_LEAST_LIVE = {"cuda": 0.1, "cpu": 0.75}
"""Share of unfinished rows below which finished ones leave the batch: it takes a copy of the cache, and on a GPU a new
graph, which cost more steps there."""

_STEPS_A_READ = {"cuda": 4, "cpu": 1}
"""Steps after which the processor looks at the tokens. A GPU is through with its work whenever they are read, and waits
until it is given more; a few steps too many for rows that have finished cost it less, and their tokens are dropped."""

_READ_TOKENS = {"cuda": sys.maxsize, "cpu": 2_048}
"""Tokens of prompts that are read at a time, and that share a number of keys in decoding. A GPU is filled by many; a
processor reads as fast in portions, with less memory, and spares short prompts the keys of longer ones."""

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


def greedy(lm: LanguageModel, table: Tensor, prompts: Sequence[Sequence[int]], rule: StopRule) -> list[Continuation]:
    """Continue each prompt with the likeliest token until ``rule`` says stop.

    Args:
        table: ``[V, D]``, what the model reads for each token id, in prompts and in its own answers alike.
        prompts: token ids, of any lengths. What several begin with is computed once, so give like prompts together.
    """
    (continuations,) = greedy_batches(lm, table, [prompts], rule)
    return continuations


def greedy_batches(
    lm: LanguageModel, table: Tensor, batches: Iterable[Sequence[Sequence[int]]], rule: StopRule
) -> Iterator[list[Continuation]]:
    """``greedy`` for one batch after the other.

    A GPU reads the prompts of a batch while the processor goes on. In that time the caller gets the batch before, and
    the next one is laid out, so that the GPU need not wait for either.
    """
    most = _READ_TOKENS["cuda" if lm.device.type == "cuda" else "cpu"]
    layouts = (_lay_out(prompts, room=rule.max_new_tokens - 1, read_tokens=most) for prompts in batches)
    layout, said = next(layouts, None), None
    while layout is not None:
        cache, chosen = _read(lm, table, layout)
        if said is not None:
            yield _cut(said, rule)
        layout = next(layouts, None)
        said = _continue(lm, table, cache, chosen, rule)
        del cache, chosen  # two batches' keys and values might not fit
    if said is not None:
        yield _cut(said, rule)


@torch.no_grad()
def _continue(lm: LanguageModel, table: Tensor, cache: _Rows, chosen: Tensor, rule: StopRule) -> NDArray[np.int64]:
    """Go on from the first tokens, ``chosen`` ``[B]``. Returns ``[B, N]``: what each prompt is followed by, up to the
    token that ends it and possibly some more, which mean nothing."""
    kind = "cuda" if lm.device.type == "cuda" else "cpu"
    stops = sorted(rule.end_ids | rule.newline_ids)
    said = np.zeros((len(chosen), rule.max_new_tokens), dtype=np.int64)
    finished = np.zeros(len(chosen), dtype=np.bool_)
    live = np.arange(len(chosen))  # the prompt that each row of the cache belongs to
    with exchanged(lm.model):
        advance = _advance(lm, table, cache, chosen)
        for start in range(0, rule.max_new_tokens, _STEPS_A_READ[kind]):
            stop = min(start + _STEPS_A_READ[kind], rule.max_new_tokens)
            tokens = []
            for step in range(start, stop):
                if step > 0:
                    advance()
                tokens.append(chosen.clone())
            said[live, start:stop] = torch.stack(tokens, dim=1).cpu().numpy()
            finished |= np.isin(said[:, start:stop], stops).any(axis=1)
            going = ~finished[live]
            if not going.any():
                break
            if stop < rule.max_new_tokens and going.sum() < _LEAST_LIVE[kind] * len(live):
                keep = going.nonzero()[0]
                cache.keep(keep)
                chosen = chosen[torch.from_numpy(keep).to(lm.device)]
                advance = _advance(lm, table, cache, chosen)
                live = live[going]
    return said


def _cut(said: NDArray[np.int64], rule: StopRule) -> list[Continuation]:
    """Each row of ``said`` up to where ``rule`` ends it."""
    ends, newlines = np.isin(said, sorted(rule.end_ids)), np.isin(said, sorted(rule.newline_ids))
    stops = ends | newlines
    lengths = np.where(stops.any(axis=1), stops.argmax(axis=1), said.shape[1])
    found: list[Continuation] = []
    for row, length, tokens in zip(range(len(said)), lengths.tolist(), said.tolist(), strict=True):
        if length == len(tokens):
            found.append(Continuation(ids=tuple(tokens), stop_reason="length"))
        elif ends[row, length]:
            found.append(Continuation(ids=tuple(tokens[:length]), stop_reason="end"))
        else:
            found.append(Continuation(ids=tuple(tokens[: length + 1]), stop_reason="newline"))
    return found


def _advance(lm: LanguageModel, table: Tensor, cache: _Rows, chosen: Tensor) -> Callable[[], None]:
    """A step that reads the tokens of ``chosen`` ``[B]``, one for each row of ``cache``, and puts the next in their
    place."""

    def step() -> None:
        positions = cache.grow()
        hidden = lm.next_states(table[chosen], positions, cache.masks, cache)
        chosen.copy_(lm.logits(hidden).argmax(-1))

    return Replayer(lm.device).replayed(step) if lm.has_fixed_steps else step


@dataclass(frozen=True, kw_only=True)
class _Portion:
    """Prompts that are read at once."""

    members: slice
    """Which of the batch they are."""
    packed: Packed
    rows: Tensor
    """``[b, w]`` int64, ``w`` the longest of them: the packed rows of each prompt, on the right. What is left of a
    shorter one names some row, and is masked."""
    mask: Tensor
    """``[b, s]`` bool: which of the ``w`` keys belong to each prompt, then room for new tokens."""


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Prompts laid out for the device."""

    portions: list[_Portion]
    lengths: Tensor
    """``[B]`` int64."""
    room: int
    """For new tokens."""


def _lay_out(prompts: Sequence[Sequence[int]], room: int, read_tokens: int) -> _Layout:
    """Pack prompts, about ``read_tokens`` at a time, and find their places in a cache with ``room`` for more tokens."""
    lengths = np.array([len(prompt) for prompt in prompts])
    width = int(lengths.max())
    room = -(-(width + room) // _ALIGNED) * _ALIGNED - width
    portions = []
    for members in _portions(prompts, read_tokens):
        packed, own = pack(prompts[members]), lengths[members]
        taken = np.arange(own.max()) >= own.max() - own[:, None]
        rows = np.zeros(taken.shape, dtype=np.int64)
        rows[taken] = np.concatenate(packed.rows)
        mask = torch.from_numpy(np.pad(taken, ((0, 0), (0, room))))
        portions.append(_Portion(members=members, packed=packed, rows=torch.from_numpy(rows), mask=mask))
    return _Layout(portions=portions, lengths=torch.from_numpy(lengths), room=room)


def _portions(prompts: Sequence[Sequence[int]], most: int) -> Iterator[slice]:
    """Neighbours with at most so many tokens, those with which one begins like the one before it not counted; or a
    single longer one."""
    if sum(map(len, prompts)) <= most:
        yield slice(0, len(prompts))
        return
    start = taken = 0
    for index, prompt in enumerate(prompts):
        own = len(prompt) - (_num_alike(prompts[index - 1], prompt) if index > start else 0)
        if index > start and taken + own > most:
            yield slice(start, index)
            start, taken, own = index, 0, len(prompt)
        taken += own
    yield slice(start, len(prompts))


def _num_alike(one: Sequence[int], other: Sequence[int]) -> int:
    """With how many tokens both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


@torch.no_grad()
def _read(lm: LanguageModel, table: Tensor, layout: _Layout) -> tuple[_Rows, Tensor]:
    """Read the prompts. Returns a cache with a row for each prompt, and the first new tokens, ``[B]``."""
    device, chosen = lm.device, []
    masks = [portion.mask.to(device) for portion in layout.portions]
    cache = _Rows(masks, layout.lengths.to(device), layout.room)
    for portion in layout.portions:
        packed = portion.packed
        # All that goes to the device goes first: later, the copy would wait until the prompts are read.
        rows = portion.rows.to(device)
        embeddings = table[torch.from_numpy(packed.ids).to(device)][None]
        taken = _Taken(cache, portion.members, rows)
        hidden = lm.packed_states(embeddings, torch.from_numpy(packed.positions), packed.segments, taken)[0]
        chosen.append(lm.logits(hidden[rows[:, -1]]).argmax(-1))
    return cache, torch.cat(chosen)


class _Taken(Cache):  # type: ignore[misc]
    """Takes the keys and values of packed prompts, ``[1, G, T, d]`` a layer, into the ``members``' rows of a cache."""

    def __init__(self, cache: _Rows, members: slice, rows: Tensor) -> None:
        super().__init__(layers=[])
        self._cache, self._members, self._rows = cache, members, rows

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self._cache.take(layer, self._members, self._rows, key, value)
        return key, value


class _Rows(Cache):  # type: ignore[misc]
    """Keys and values with a row for each sequence, ``[B, G, S, d]`` a layer, ``S`` the longest prompt and the room for
    its answer. Prompts end in the same column, and new tokens are written into the next for all rows alike."""

    def __init__(self, masks: list[Tensor], lengths: Tensor, room: int) -> None:
        """``masks`` (``[b, s]``) for some neighbouring sequences after the others; ``lengths`` (``[B]``) of their
        prompts; ``room`` for new tokens."""
        super().__init__(layers=[])
        self.masks = masks
        """``[b, s]`` bool: which of its last ``s`` keys belong to each sequence."""
        self._size = max(mask.shape[1] for mask in masks)
        self._width = self._size - room
        self._lengths = lengths
        self._column = torch.full((1,), self._width - 1, device=lengths.device)
        self._kept: list[tuple[Tensor, Tensor]] = []

    def take(self, layer: int, members: slice, rows: Tensor, key: Tensor, value: Tensor) -> None:
        """Copy packed keys and values, ``[1, G, T, d]``: ``rows`` (``[b, w]``) of them for each of the ``members``."""
        _, groups, _, size = key.shape
        if layer == len(self._kept):  # masked or not, values must be numbers
            shape = (len(self._lengths), groups, self._size, size)
            self._kept.append((key.new_zeros(shape), value.new_zeros(shape)))
        for buffer, packed in zip(self._kept[layer], (key, value), strict=True):
            taken = packed[0].transpose(0, 1).index_select(0, rows.flatten()).view(*rows.shape, groups, size)
            buffer[members, :, self._width - rows.shape[1] : self._width] = taken.transpose(1, 2)

    def grow(self) -> Tensor:
        """Begin one more token. Returns its position in each sequence, ``[B]``."""
        self._column += 1
        for mask in self.masks:
            mask.index_fill_(1, self._column - (self._size - mask.shape[1]), True)
        self._lengths += 1
        return self._lengths - 1

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the new token's keys and values; returns all, with room for later ones."""
        keys, values = self._kept[layer]
        return keys.index_copy_(2, self._column, key), values.index_copy_(2, self._column, value)

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Drop all sequences but these, which are given in their order."""

        def kept(tensor: Tensor, rows: NDArray[np.int64]) -> Tensor:
            return tensor[torch.from_numpy(rows).to(tensor.device)]

        self._kept = [(kept(keys, rows), kept(values, rows)) for keys, values in self._kept]
        self._lengths = kept(self._lengths, rows)
        ends = np.cumsum([len(mask) for mask in self.masks])
        parts = np.split(rows, np.searchsorted(rows, ends[:-1]))
        starts = [0, *ends.tolist()]
        self.masks = [
            kept(mask, part - start) for mask, part, start in zip(self.masks, parts, starts, strict=False) if len(part)
        ]
