"""What the model reads instead of a token's embedding: one class for each kind of reading.

Each reader maps token ids to embeddings one token at a time. That makes it a table: ``reader.table()`` is what the
model would hold if the reader were folded into it, and all decoding uses exactly that.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thinwire.adapter import Adapter
from thinwire.codecs import Codec

_BLOCK_ROWS = 16384


class Reader(nn.Module):
    """Maps token ids to the embeddings that the model reads. The base reads the text itself: control and teacher."""

    source: Tensor

    def __init__(self, source: Tensor) -> None:
        super().__init__()
        self.register_buffer("source", source, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """``[U]`` distinct token ids to ``[U, D]`` embeddings, float32."""
        return self.source[tokens].float()

    def table(self, dtype: torch.dtype) -> Tensor:
        """The embedding of every token id, ``[V, D]`` in ``dtype``."""
        return self.rows(torch.arange(len(self.source), device=self.source.device), dtype)

    @torch.no_grad()
    def rows(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """The embeddings of any number of token ids, ``[N]`` to ``[N, D]`` in ``dtype``."""
        return torch.cat([self(block).to(dtype) for block in tokens.split(_BLOCK_ROWS)])


class CodecReader(Reader):
    """Reads the codec's own reconstruction. ``source`` holds the codes ``[V, K]``."""

    def __init__(self, codes: Tensor, codec: Codec) -> None:
        super().__init__(codes)
        self.codec = codec

    def forward(self, tokens: Tensor) -> Tensor:
        return self.codec.decode(self.source[tokens])


class AdapterReader(Reader):
    """Reads the adapter's reconstruction; the adapter is what trains. ``source`` holds the codes ``[V, K]``."""

    def __init__(self, codes: Tensor, codec: Codec, adapter: Adapter) -> None:
        super().__init__(codes)
        self.codec = codec
        self.adapter = adapter

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.adapter(self.codec.features(self.source[tokens]))
        return out
