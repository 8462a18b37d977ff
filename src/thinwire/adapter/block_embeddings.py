"""Input embeddings of blocks of tokens (``input: blocks``): one encoder makes one embedding of those of its tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thinwire.adapter.block_encoders import BlockEncoder
from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.data.blocks import MISSING, Blocks
from thinwire.ops.context_attention import contexts_of

_TOGETHER = 16_384
"""Least number of tokens that are encoded at once where the encoder reads contexts, which are not divided."""


class BlockEmbeddings(InputEmbeddings):
    """Maps token ids to the model's own embeddings, and ids of blocks to the encoder's. ``source`` is the embedding
    matrix ``[V, D]``."""

    members: Tensor
    """``[B, k]`` int64: the tokens of each block, ``MISSING`` where there are fewer."""
    contexts: Tensor
    """``[B]`` int64: the number of each block's context, for encoders that read it."""
    places: Tensor
    """``[B]`` int64: the place of each block in its context, likewise."""

    def __init__(self, matrix: Tensor, encoder: BlockEncoder, blocks: Blocks) -> None:
        super().__init__(matrix)
        self.encoder = encoder
        for name in ("members", "contexts", "places"):
            values = torch.from_numpy(getattr(blocks, name)).to(matrix.device)
            self.register_buffer(name, values, persistent=False)
        self.kind = blocks.kind
        self._longest = int(blocks.places.max(initial=0)) + 1
        self._num_scored = blocks.num_scored

    def with_blocks(self, blocks: Blocks) -> BlockEmbeddings:
        """Return the embeddings of other blocks by the same encoder."""
        return BlockEmbeddings(self.source, self.encoder, blocks)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[U]`` distinct ids to ``[U, D]`` embeddings, float32. Where the encoder reads contexts, all blocks of a
        context must be among them, and ids ascend."""
        vocabulary = len(self.source)
        own = self.source[tokens.clamp(max=vocabulary - 1)].float()
        if len(self.members) == 0:
            return own
        is_token, number = tokens < vocabulary, (tokens - vocabulary).clamp(min=0)
        if tokens.device.type == "cpu":
            if is_token.all():
                return own
            own[~is_token] = self._encoded(number[~is_token], self.contexts[number[~is_token]])
            return own
        # Every id is encoded, also those of tokens, as blocks alone whose embeddings nobody uses: shapes stay the same
        # for all ids, as CUDA graphs need.
        encoded = self._encoded(number, torch.where(is_token, -1, self.contexts[number]))
        return torch.where(is_token[:, None], own, encoded)

    def _encoded(self, numbers: Tensor, contexts: Tensor) -> Tensor:
        """Encode the blocks of these ``numbers`` and ``contexts``, ``[N]``; returns ``[N, D]`` float32."""
        members = self.members[numbers]
        rows, is_there = self.source[members.clamp(min=0)].float(), members != MISSING
        read = None
        if self.kind.reads_context:
            read = contexts_of(contexts, self.places[numbers], self.kind.size, self._longest)
        encoded: Tensor = self.encoder(rows, is_there, read)
        return encoded

    @torch.no_grad()
    def matrix(self, dtype: torch.dtype) -> Tensor:
        """Return the embeddings of all token ids and of the blocks that are scored, ``[V + B, D]`` in ``dtype``."""
        blocks = len(self.source) + torch.arange(self._num_scored, device=self.source.device)
        if not self.kind.reads_context:
            return torch.cat([self.source.to(dtype), self.rows(blocks, dtype)])
        _, lengths = self.contexts[: self._num_scored].unique_consecutive(return_counts=True)
        parts = blocks.split(_filled(lengths.tolist(), _TOGETHER // self.kind.size))
        return torch.cat([self.source.to(dtype), *(self(part).to(dtype) for part in parts)])  # ``rows`` would cut them


def _filled(lengths: Sequence[int], least: int) -> list[int]:
    """Return sums of ``lengths`` in succession, each of as few as make ``least``."""
    sums = [0]
    for length in lengths:
        if sums[-1] >= least:
            sums.append(0)
        sums[-1] += length
    return sums
