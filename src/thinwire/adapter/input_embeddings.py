"""Input embeddings of the language model, one class for each value of the setting ``input``.

They map each token id to an embedding, independently of other tokens. So they equal an embedding matrix, ``matrix()``;
all decoding uses that matrix, and export writes it into the model. Those of blocks, which may depend on the context of
each, are in ``block_embeddings.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thinwire.adapter.adapter import Adapter
from thinwire.codecs.base import Codec

_BLOCK_ROWS = 16384


class InputEmbeddings(nn.Module):
    """Maps token ids to input embeddings. The base class returns the model's own embeddings (``input: text``)."""

    source: Tensor
    """``[V, D]`` embedding matrix, or ``[V, K]`` codes in subclasses."""

    def __init__(self, source: Tensor) -> None:
        super().__init__()
        self.register_buffer("source", source, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[U]`` distinct token ids to ``[U, D]`` embeddings, float32."""
        return self.source[tokens].float()

    def matrix(self, dtype: torch.dtype) -> Tensor:
        """Return the embeddings of all token ids, ``[V, D]`` in ``dtype``."""
        return self.rows(torch.arange(len(self.source), device=self.source.device), dtype)

    @torch.no_grad()
    def rows(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the embeddings of any number of token ids, ``[N]`` to ``[N, D]`` in ``dtype``, block by block."""
        return torch.cat([self(block).to(dtype) for block in tokens.split(_BLOCK_ROWS)])


class CodecEmbeddings(InputEmbeddings):
    """The codec's own reconstruction (``input: codec``). ``source`` holds the codes ``[V, K]``."""

    def __init__(self, codes: Tensor, codec: Codec) -> None:
        super().__init__(codes)
        self.codec = codec

    def forward(self, tokens: Tensor) -> Tensor:
        return self.codec.decode(self.source[tokens])


class AdapterEmbeddings(InputEmbeddings):
    """The adapter's reconstruction (``input: adapter``); only the adapter is trained. ``source`` holds the codes ``[V,
    K]``."""

    def __init__(self, codes: Tensor, codec: Codec, adapter: Adapter) -> None:
        super().__init__(codes)
        self.codec = codec
        self.adapter = adapter

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.adapter(self.codec.features(self.source[tokens]))
        return out
