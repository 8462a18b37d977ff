"""Key-value caches for batched decoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Cache


class PackedKeyValues(Cache):  # type: ignore[misc]
    """Copies the keys and values of packed prompts, ``[1, G, T, d]`` per layer, into rows of a ``KeyValueCache``."""

    def __init__(self, cache: KeyValueCache, members: slice, rows: Tensor) -> None:
        super().__init__(layers=[])
        self._cache, self._members, self._rows = cache, members, rows

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self._cache.take(layer, self._members, self._rows, key, value)
        return key, value


class KeyValueCache(Cache):  # type: ignore[misc]
    """Keys and values with one row per sequence, ``[B, G, S, d]`` per layer.

    ``S`` is the longest prompt plus the new tokens. All prompts end in the same column, and each new token is written
    into the next column of all rows.
    """

    def __init__(self, masks: list[Tensor], lengths: Tensor, room: int) -> None:
        """Make an empty cache.

        Args:
            masks: ``[b, s]`` bool for each chunk of neighbouring sequences, in their order.
            lengths: ``[B]``, prompt lengths.
            room: columns for new tokens.
        """
        super().__init__(layers=[])
        self.masks = masks
        """``[b, s]`` bool: which of the last ``s`` keys belong to each sequence."""
        self._size = max(mask.shape[1] for mask in masks)
        self._width = self._size - room
        self._lengths = lengths
        self._column = torch.full((1,), self._width - 1, device=lengths.device)
        self._kept: list[tuple[Tensor, Tensor]] = []

    def take(self, layer: int, members: slice, rows: Tensor, key: Tensor, value: Tensor) -> None:
        """Copy packed keys and values, ``[1, G, T, d]``, into the rows ``members``.

        Args:
            rows: ``[b, w]``, for each member the indices of its tokens among the ``T``.
        """
        _, groups, _, size = key.shape
        if layer == len(self._kept):  # zeros and not empty: masked values must be finite too
            shape = (len(self._lengths), groups, self._size, size)
            self._kept.append((key.new_zeros(shape), value.new_zeros(shape)))
        tokens = rows.flatten().to(key.device)
        for buffer, packed in zip(self._kept[layer], (key, value), strict=True):
            taken = packed[0].transpose(0, 1).index_select(0, tokens).view(*rows.shape, groups, size)
            buffer[members, :, self._width - rows.shape[1] : self._width] = taken.transpose(1, 2)

    def grow(self) -> Tensor:
        """Start a new token. Returns its position in each sequence, ``[B]``."""
        self._column += 1
        for mask in self.masks:
            mask.index_fill_(1, self._column - (self._size - mask.shape[1]), True)
        self._lengths += 1
        return self._lengths - 1

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the new token's keys and values; returns the whole buffers, unused columns included."""
        keys, values = self._kept[layer]
        column = self._column.to(keys.device)
        return keys.index_copy_(2, column, key), values.index_copy_(2, column, value)

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Drop all sequences except these, which must be in ascending order."""

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
