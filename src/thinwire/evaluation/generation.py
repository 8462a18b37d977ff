"""Batched greedy decoding with the same answers as decoding each prompt alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.errors import UsageError
from thinwire.evaluation.kv_cache import KeyValueCache, PackedKeyValues
from thinwire.evaluation.own_decoding import own_continuations
from thinwire.model.language_model import LanguageModel
from thinwire.ops.cuda_graphs import GraphPool
from thinwire.ops.packing import Packed, pack
from thinwire.ops.segment_attention import patched_attention

StopReason = Literal["end", "newline", "length"]

_COMPACT_BELOW = {"cuda": 0.1, "cpu": 0.75}
"""Finished rows leave the batch when the share of unfinished ones falls below this. That copies the cache and, on a
GPU, captures a new graph, which costs more steps there."""

STEPS_PER_CHECK = {"cuda": 4, "cpu": 1}
"""Decoding steps between two checks for finished answers. A check waits until the GPU is done; a few steps too many for
finished rows cost less than that, and their tokens are dropped."""

PREFILL_TOKENS = {"cuda": sys.maxsize, "cpu": 2_048}
"""Maximum prompt tokens in a prefill chunk, whose rows share a number of keys in decoding. A GPU is used best by many
tokens; a CPU is as fast with smaller chunks, which take less memory and give short prompts fewer masked keys."""

_ALIGNMENT = 8
"""The number of keys is a multiple of this: fast matrix products on GPUs need rows aligned to 16 bytes."""


@dataclass(frozen=True, kw_only=True)
class StopRule:
    """When an answer ends."""

    end_ids: frozenset[int]
    """Tokens that end the answer and are not part of it."""
    newline_ids: frozenset[int]
    """Tokens that contain a line end; they end an answer to a plain prompt."""
    max_new_tokens: int


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """The tokens generated for one prompt."""

    ids: tuple[int, ...]
    """Generated tokens without the end token."""
    stop_reason: StopReason


def greedy(lm: LanguageModel, matrix: Tensor, prompts: Sequence[Sequence[int]], rule: StopRule) -> list[Continuation]:
    """Continue each prompt with the most probable tokens until ``rule`` ends the answer.

    Args:
        matrix: ``[V, D]``, the input embedding of each token id, for prompts and generated tokens alike.
        prompts: token ids, of any lengths. Common prefixes are computed once if such prompts are neighbours.
    """
    (continuations,) = greedy_batches(lm, matrix, [prompts], rule)
    return continuations


def greedy_batches(
    lm: LanguageModel, matrix: Tensor, batches: Iterable[Sequence[Sequence[int]]], rule: StopRule
) -> Iterator[list[Continuation]]:
    """Decode one batch after the other, each as ``greedy`` does.

    While a GPU runs the prefill of a batch, the CPU yields the batch before and lays out the next one, so that the GPU
    does not wait for either. A model that cannot pack prompts decodes each batch with its own ``generate()``.
    """
    batches = within_positions(lm, batches, rule.max_new_tokens)
    if not lm.packs:
        ends, most = rule.end_ids | rule.newline_ids, rule.max_new_tokens
        for prompts in batches:
            yield cut_at_stop(own_continuations(lm, matrix, prompts, max_new_tokens=most, end_ids=ends), rule)
        return
    max_chunk_tokens = PREFILL_TOKENS["cuda" if lm.device.type == "cuda" else "cpu"]
    room = rule.max_new_tokens - 1
    layouts = (lay_out_prompts(prompts, room=room, prefill_tokens=max_chunk_tokens) for prompts in batches)
    layout, generated = next(layouts, None), None
    while layout is not None:
        cache, chosen = prefill(lm, matrix, layout)
        if generated is not None:
            yield cut_at_stop(generated, rule)
        layout = next(layouts, None)
        generated = decode_batch(lm, matrix, cache, chosen, rule)
        del cache, chosen  # the caches of two batches might not fit into memory
    if generated is not None:
        yield cut_at_stop(generated, rule)


@torch.no_grad()
def decode_batch(
    lm: LanguageModel, matrix: Tensor, cache: KeyValueCache, chosen: Tensor, rule: StopRule
) -> NDArray[np.int64]:
    """Decode from the first new tokens, ``chosen`` ``[B]``, until all rows have finished.

    Returns:
        ``[B, N]`` token ids of each prompt's continuation; those after the token that ends a row have no meaning.
    """
    kind = "cuda" if lm.device.type == "cuda" else "cpu"
    stops = sorted(rule.end_ids | rule.newline_ids)
    generated = np.zeros((len(chosen), rule.max_new_tokens), dtype=np.int64)
    finished = np.zeros(len(chosen), dtype=np.bool_)
    live = np.arange(len(chosen))  # the prompt of each row of the cache
    with patched_attention(lm.model):
        step = decoding_step(lm, matrix, cache, chosen)
        for start in range(0, rule.max_new_tokens, STEPS_PER_CHECK[kind]):
            stop = min(start + STEPS_PER_CHECK[kind], rule.max_new_tokens)
            tokens = []
            for index in range(start, stop):
                if index > 0:
                    step()
                tokens.append(chosen.clone())
            generated[live, start:stop] = torch.stack(tokens, dim=1).cpu().numpy()
            finished |= np.isin(generated[:, start:stop], stops).any(axis=1)
            unfinished = ~finished[live]
            if not unfinished.any():
                break
            if stop < rule.max_new_tokens and unfinished.sum() < _COMPACT_BELOW[kind] * len(live):
                keep = unfinished.nonzero()[0]
                cache.keep(keep)
                chosen = chosen[torch.from_numpy(keep).to(lm.device)]
                step = decoding_step(lm, matrix, cache, chosen)
                live = live[unfinished]
    return generated


def within_positions(
    lm: LanguageModel, batches: Iterable[Sequence[Sequence[int]]], num_new: int
) -> Iterator[Sequence[Sequence[int]]]:
    """Yield ``batches`` of prompts, all of which leave room for ``num_new`` tokens within the model's positions.

    Raises:
        UsageError: a prompt and its answer have more tokens than the model has positions.
    """
    most = lm.most_positions
    for prompts in batches:
        longest = max(map(len, prompts))
        if most is not None and longest + num_new > most:
            room = most - num_new
            remedy = f"shorten prompts: prompt.max_tokens={room}" if room > 0 else "ask for fewer tokens"
            raise UsageError(
                f"{lm.name} encodes {most} positions, but a prompt and its answer have {longest + num_new}; {remedy}"
            )
        yield prompts


def cut_at_stop(generated: NDArray[np.int64], rule: StopRule) -> list[Continuation]:
    """Cut each row of ``generated`` where ``rule`` ends it."""
    ends, newlines = np.isin(generated, sorted(rule.end_ids)), np.isin(generated, sorted(rule.newline_ids))
    stops = ends | newlines
    lengths = np.where(stops.any(axis=1), stops.argmax(axis=1), generated.shape[1])
    found: list[Continuation] = []
    for row, length, tokens in zip(range(len(generated)), lengths.tolist(), generated.tolist(), strict=True):
        if length == len(tokens):
            found.append(Continuation(ids=tuple(tokens), stop_reason="length"))
        elif ends[row, length]:
            found.append(Continuation(ids=tuple(tokens[:length]), stop_reason="end"))
        else:
            found.append(Continuation(ids=tuple(tokens[: length + 1]), stop_reason="newline"))
    return found


def decoding_step(lm: LanguageModel, matrix: Tensor, cache: KeyValueCache, chosen: Tensor) -> Callable[[], None]:
    """Return a function that runs one step: it replaces ``chosen`` ``[B]``, one token per row of ``cache``, by the next
    ones."""

    def step() -> None:
        positions = cache.grow()
        hidden = lm.next_states(matrix[chosen], positions, cache.masks, cache)
        chosen.copy_(lm.logits(hidden).argmax(-1))

    return GraphPool(lm.device).captured(step) if lm.has_fixed_steps else step


@dataclass(frozen=True, kw_only=True)
class PrefillChunk:
    """Prompts that are processed in one forward pass."""

    members: slice
    """Their range in the batch."""
    packed: Packed
    rows: Tensor
    """``[b, w]`` int64, ``w`` the longest of them: indices into the packed rows for each prompt, right-aligned. Unused
    places have arbitrary indices and are masked."""
    mask: Tensor
    """``[b, s]`` bool: which of the ``w`` keys belong to each prompt, followed by the columns for new tokens."""


@dataclass(frozen=True, kw_only=True)
class PromptLayout:
    """Prompts packed for the device."""

    chunks: list[PrefillChunk]
    lengths: Tensor
    """``[B]`` int64, prompt lengths."""
    room: int
    """Columns for new tokens."""


def lay_out_prompts(prompts: Sequence[Sequence[int]], room: int, prefill_tokens: int) -> PromptLayout:
    """Pack prompts in chunks of about ``prefill_tokens`` tokens, with places in a cache with ``room`` for new ones."""
    lengths = np.array([len(prompt) for prompt in prompts])
    width = int(lengths.max())
    room = -(-(width + room) // _ALIGNMENT) * _ALIGNMENT - width
    chunks = []
    for members in prefill_chunks(prompts, prefill_tokens):
        packed, chunk_lengths = pack(prompts[members]), lengths[members]
        longest = chunk_lengths.max()
        is_token = np.arange(longest) >= longest - chunk_lengths[:, None]
        rows = np.zeros(is_token.shape, dtype=np.int64)
        rows[is_token] = np.concatenate(packed.rows)
        mask = torch.from_numpy(np.pad(is_token, ((0, 0), (0, room))))
        chunks.append(PrefillChunk(members=members, packed=packed, rows=torch.from_numpy(rows), mask=mask))
    return PromptLayout(chunks=chunks, lengths=torch.from_numpy(lengths), room=room)


def prefill_chunks(prompts: Sequence[Sequence[int]], max_tokens: int) -> Iterator[slice]:
    """Split prompts into slices of neighbours with at most ``max_tokens`` tokens each, or with a single longer prompt.

    Tokens of a prefix that a prompt shares with the one before are not counted.
    """
    if sum(map(len, prompts)) <= max_tokens:
        yield slice(0, len(prompts))
        return
    start = num_tokens = 0
    for index, prompt in enumerate(prompts):
        new_tokens = len(prompt) - (_common_prefix_length(prompts[index - 1], prompt) if index > start else 0)
        if index > start and num_tokens + new_tokens > max_tokens:
            yield slice(start, index)
            start, num_tokens, new_tokens = index, 0, len(prompt)
        num_tokens += new_tokens
    yield slice(start, len(prompts))


def _common_prefix_length(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the number of leading tokens that are the same in both."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


@torch.no_grad()
def prefill(lm: LanguageModel, matrix: Tensor, layout: PromptLayout) -> tuple[KeyValueCache, Tensor]:
    """Run the model on the prompts.

    Returns:
        A cache with one row per prompt, and the first new tokens, ``[B]``.
    """
    device, chosen = lm.device, []
    masks = [chunk.mask.to(device) for chunk in layout.chunks]
    cache = KeyValueCache(masks, layout.lengths.to(device), layout.room)
    for chunk in layout.chunks:
        packed = chunk.packed
        # Copy everything to the device first: a later copy would wait for the forward pass.
        rows = chunk.rows.to(device)
        embeddings = matrix[torch.from_numpy(packed.ids).to(device)][None]
        packed_cache = PackedKeyValues(cache, chunk.members, rows)
        hidden = lm.packed_states(embeddings, torch.from_numpy(packed.positions), packed.segments, packed_cache)[0]
        chosen.append(lm.logits(hidden[rows[:, -1]]).argmax(-1))
    return cache, torch.cat(chosen)
