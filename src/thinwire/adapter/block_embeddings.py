"""Input embeddings of blocks of tokens (``input: blocks``): one encoder makes one embedding of those of its tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.codecs.residual_mlp import LinearWithResidual
from thinwire.config.block_settings import BlocksConfig
from thinwire.data.blocks import MISSING, Blocks


class BlockEmbeddings(InputEmbeddings):
    """Maps token ids to the model's own embeddings, and ids of blocks to the encoder's. ``source`` is the embedding
    matrix ``[V, D]``."""

    members: Tensor
    """``[B, k]`` int64: the tokens of each block, ``MISSING`` where there are fewer."""

    def __init__(self, matrix: Tensor, encoder: BlockEncoder, blocks: Blocks) -> None:
        super().__init__(matrix)
        self.encoder = encoder
        self.register_buffer("members", torch.from_numpy(blocks.members).to(matrix.device), persistent=False)
        self._num_scored = blocks.num_scored

    @property
    def size(self) -> int:
        """Tokens in a block."""
        return self.members.shape[1]

    def with_blocks(self, blocks: Blocks) -> BlockEmbeddings:
        """Return the embeddings of other blocks by the same encoder."""
        return BlockEmbeddings(self.source, self.encoder, blocks)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``[U]`` distinct ids to ``[U, D]`` embeddings, float32."""
        vocabulary = len(self.source)
        own = self.source[tokens.clamp(max=vocabulary - 1)].float()
        if len(self.members) == 0:
            return own
        # Every id is encoded, also those of tokens, whose embeddings do not depend on it: shapes stay the same for all
        # ids, as CUDA graphs need.
        members = self.members[(tokens - vocabulary).clamp(min=0)]
        is_there = members != MISSING
        encoded = self.encoder(self.source[members.clamp(min=0)].float(), is_there)
        return torch.where((tokens < vocabulary)[:, None], own, encoded)

    def matrix(self, dtype: torch.dtype) -> Tensor:
        """Return the embeddings of all token ids and of the blocks that are scored, ``[V + B, D]`` in ``dtype``."""
        first = len(self.source)
        blocks = torch.arange(first, first + self._num_scored, device=self.source.device)
        return torch.cat([self.source.to(dtype), self.rows(blocks, dtype)])


class BlockEncoder(nn.Module):
    """The mean of a block's embeddings, which has no parameters."""

    def forward(self, rows: Tensor, is_there: Tensor) -> Tensor:
        """Encode blocks.

        Args:
            rows: ``[N, k, D]`` float32.
            is_there: ``[N, k]``; rows where it is false do not count.

        Returns:
            ``[N, D]`` float32.
        """
        return (rows * is_there[..., None]).sum(1) / is_there.sum(1, keepdim=True)


class WeightedMean(BlockEncoder):
    """A weight for each place in a block and each dimension. Places without a token have a learned embedding."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((size, width), 1 / size))
        self.padding = nn.Parameter(torch.zeros(width))

    def forward(self, rows: Tensor, is_there: Tensor) -> Tensor:
        return (torch.where(is_there[..., None], rows, self.padding) * self.weights).sum(1)


class BlockMLP(BlockEncoder):
    """A linear map of a block's concatenated embeddings, which begins as their mean, and an MLP that begins at zero.
    Places without a token have a learned embedding."""

    def __init__(self, matrix: Tensor, config: BlocksConfig, generator: torch.Generator) -> None:
        """Initialise the encoder; the standard deviations of ``matrix`` ``[V, D]`` scale the inputs of the MLP."""
        super().__init__()
        width, size = matrix.shape[1], config.size
        self.padding = nn.Parameter(torch.zeros(width))
        self.map = LinearWithResidual(
            torch.eye(width).repeat(1, size) / size,
            torch.zeros(width),
            matrix.float().std(0).cpu().repeat(size),
            hidden=config.hidden,
            generator=generator,
        )

    def forward(self, rows: Tensor, is_there: Tensor) -> Tensor:
        encoded: Tensor = self.map(torch.where(is_there[..., None], rows, self.padding).flatten(1))
        return encoded


def encoder_parameters(config: BlocksConfig, width: int) -> int:
    """Return the number of trained parameters of an encoder of embeddings of this width."""
    match config.encoder:
        case "mean":
            return 0
        case "weighted_mean":
            return width * (config.size + 1)
        case "mlp":
            inputs = config.size * width
            return width + width * (inputs + 1) + config.hidden * (inputs + 1) + width * (config.hidden + 1)


def make_block_encoder(config: BlocksConfig, matrix: Tensor, generator: torch.Generator) -> BlockEncoder:
    """Make a block encoder with its initial values, on the device of ``matrix`` ``[V, D]``."""
    match config.encoder:
        case "mean":
            return BlockEncoder()
        case "weighted_mean":
            return WeightedMean(config.size, matrix.shape[1]).to(matrix.device)
        case "mlp":
            return BlockMLP(matrix, config, generator).to(matrix.device)
