"""Unpack packed sequences into right-padded batches, for models that cannot compute them packed.

A causal model's states do not depend on later tokens, so padding on the right needs no mask: what stands in it changes
no state that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from thinwire.ops.gather import Rows, ranges
from thinwire.ops.packing import Segments

_MOST_PADDED = 1.25
"""Longest sequence of a batch over its shortest: how much memory and time padding may take."""


def padded_states(decode: Callable[[Tensor], Tensor], embeddings: Tensor, segments: Segments) -> Tensor:
    """Compute the states of packed sequences in padded batches. A shared prefix is computed for each of its sequences.

    Args:
        decode: maps embeddings ``[A * b, w, D]`` of ``b`` sequences in ``A`` variants, the sequences of a variant
            together, to states of the same shape.
        embeddings: ``[A, T, D]``, variants of the same ``T`` packed tokens.

    Returns:
        ``[A, T, D]``.
    """
    batches, places = unpacked(segments)
    variants, device = len(embeddings), embeddings.device
    states = [
        decode(embeddings[:, rows.to(device)].flatten(0, 1)).reshape(variants, rows.numel(), -1) for rows in batches
    ]
    return torch.cat(states, dim=1)[:, places.to(device)]


def unpacked(segments: Segments) -> tuple[list[Tensor], Tensor]:
    """Find the place of each packed row in padded batches of sequences of similar lengths.

    Returns:
        For each batch the packed row of each of its places, ``[b, w]`` int64, where padding repeats a sequence's first
        row; and ``[T]`` int64, a place of each row among the places of all batches, end to end.
    """
    sequences = sorted(_sequences(segments), key=len)
    places = np.zeros(int(segments.query_ends[-1]), dtype=np.int64)
    batches, start = [], 0
    for members in _of_similar_length(sequences):
        lengths = np.array([len(rows) for rows in members])
        width = int(lengths[-1])
        batch = np.repeat(np.array([rows[0] for rows in members])[:, None], width, axis=1)
        batch[np.arange(width) < lengths[:, None]] = np.concatenate(members)
        places[np.concatenate(members)] = ranges(start + width * np.arange(len(members)), lengths)
        batches.append(torch.from_numpy(batch))
        start += batch.size
    return batches, torch.from_numpy(places)


def _sequences(segments: Segments) -> list[Rows]:
    """Return the packed rows of each whole sequence: the keys of each segment that is no ancestor of another."""
    keys, ends = segments.key_rows.cpu().numpy(), segments.key_ends.cpu().numpy()
    last_rows = keys[ends[1:] - 1]
    is_leaf = np.bincount(keys)[last_rows] == 1
    return [keys[ends[index] : ends[index + 1]] for index in is_leaf.nonzero()[0]]


def _of_similar_length(sequences: Sequence[Rows]) -> Iterator[list[Rows]]:
    """Split sequences in ascending order of length into runs in which none is padded by more than a quarter."""
    run: list[Rows] = []
    for rows in sequences:
        if run and len(rows) > _MOST_PADDED * len(run[0]):
            yield run
            run = []
        run.append(rows)
    yield run
