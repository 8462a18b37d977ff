"""Put the encoder of blocks in front of a language model that Thinwire exported (Apache-2.0).

Exports hold a copy of this file, which needs torch and safetensors and nothing of Thinwire. The context of a prompt is
cut into blocks of as many tokens as ``block_encoder/settings.json`` says, and each takes one position; all other tokens
have the model's own embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import gelu, linear

SETTINGS_FILE = "block_encoder/settings.json"
WEIGHTS_FILE = "block_encoder/weights.safetensors"
VERSION = 2

MISSING = -1
"""Stands in a block where a context's last block has no more tokens."""


def _mean(_: Mapping[str, Tensor], rows: Tensor, is_there: Tensor) -> Tensor:
    return (rows * is_there[..., None]).sum(1) / is_there.sum(1, keepdim=True)


def _weighted_mean(weights: Mapping[str, Tensor], rows: Tensor, is_there: Tensor) -> Tensor:
    return (torch.where(is_there[..., None], rows, weights["padding"]) * weights["weights"]).sum(1)


def _mlp(weights: Mapping[str, Tensor], rows: Tensor, is_there: Tensor) -> Tensor:
    return _with_residual(weights, torch.where(is_there[..., None], rows, weights["padding"]).flatten(1))


def _pca(weights: Mapping[str, Tensor], rows: Tensor, is_there: Tensor) -> Tensor:
    block = (rows * is_there[..., None]).flatten(1)
    return _with_residual(weights, (block - weights["mean"]) @ weights["components"].T)


def _with_residual(weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    scaled = inputs * weights["map.inverse_std"]
    hidden = gelu(linear(scaled, weights["map.hidden.weight"], weights["map.hidden.bias"]))
    correction = linear(hidden, weights["map.output.weight"], weights["map.output.bias"])
    return linear(inputs, weights["map.linear.weight"], weights["map.linear.bias"]) + weights["map.unit"] * correction


ENCODERS: dict[str, Callable[[Mapping[str, Tensor], Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "weighted_mean": _weighted_mean,
    "mlp": _mlp,
    "pca": _pca,
}
"""Each makes ``[N, D]`` of the weights by name, rows ``[N, k, D]``, and which of them are there, ``[N, k]``."""


class BlockReader:
    """Makes the input embeddings of prompts whose context is read in blocks."""

    def __init__(self, folder: Path | str, embeddings: Any) -> None:
        """Read the encoder in ``folder``.

        Args:
            folder: the export.
            embeddings: the model's embedding layer, ``model.get_input_embeddings()``.

        Raises:
            ValueError: the encoder is none that this file knows.
        """
        settings = json.loads(Path(folder, SETTINGS_FILE).read_text(encoding="utf-8"))
        if settings["version"] != VERSION or settings["encoder"] not in ENCODERS:
            raise ValueError(
                f"{folder} has the block encoder {settings['encoder']!r}, version {settings['version']}; this file "
                f"knows {', '.join(ENCODERS)}, version {VERSION}; take the block_reader.py of the same export"
            )
        self.size: int = settings["size"]
        self._first_ids: list[int] = settings["first_ids"]
        self._encode, self._embeddings = ENCODERS[settings["encoder"]], embeddings
        self._device = embeddings.weight.device
        weights = load_file(Path(folder, WEIGHTS_FILE))
        self._weights = {name: tensor.to(self._device) for name, tensor in weights.items()}

    @torch.no_grad()
    def embed(self, tokenizer: Any, before: str, context: str, after: str) -> Tensor:
        """Return the input embeddings of the prompt ``before + context + after``, ``[T, D]``, one for each position.

        Args:
            tokenizer: the export's, of ``transformers``.
            before: the prompt up to the context, with the tokens that a chat template writes, as text.
            context: is read in blocks; white space around it is left out.
            after: the rest of the prompt.
        """
        context = context.strip()
        found = tokenizer(before + context + after, add_special_tokens=False, return_offsets_mapping=True)
        start, stop = len(before), len(before) + len(context)
        # A token that also has characters before or after the context is none of the context's.
        inside = [place for place, (a, b) in enumerate(found["offset_mapping"]) if start <= a < b <= stop]
        first, end = (inside[0], inside[-1] + 1) if inside else (0, 0)
        ids = found["input_ids"]
        parts = [self._own(self._first_ids + ids[:first]), self._in_blocks(ids[first:end]), self._own(ids[end:])]
        return torch.cat(parts)

    @torch.no_grad()
    def encode(self, blocks: Tensor) -> Tensor:
        """Return the embeddings of blocks, ``[N, k]`` int64 token ids, ``MISSING`` where there are fewer, as ``[N, D]``
        float32."""
        rows: Tensor = self._embeddings(blocks.clamp(min=0)).float()
        return self._encode(self._weights, rows, blocks != MISSING)

    def _own(self, ids: list[int]) -> Tensor:
        rows: Tensor = self._embeddings(torch.tensor(ids, dtype=torch.long, device=self._device))
        return rows

    def _in_blocks(self, ids: list[int]) -> Tensor:
        padded = ids + [MISSING] * (-len(ids) % self.size)
        blocks = torch.tensor(padded, dtype=torch.long, device=self._device).view(-1, self.size)
        return self.encode(blocks).to(self._embeddings.weight.dtype)
