"""Encoders of blocks: one embedding out of those of a block's tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thinwire.adapter.block_projection import end_to_end
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.residual_mlp import LinearWithResidual, column_std
from thinwire.config.block_settings import BlocksConfig
from thinwire.ops.context_attention import Contexts

FORMULAS = 2
"""Counts up when encoders compute something else from the same weights: part of the key of what is kept of them."""


class BlockEncoder(nn.Module):
    """The mean of a block's embeddings, which has no parameters."""

    def forward(self, rows: Tensor, is_there: Tensor, contexts: Contexts | None = None) -> Tensor:
        """Encode blocks.

        Args:
            rows: ``[N, k, D]`` float32.
            is_there: ``[N, k]``; rows where it is false do not count.
            contexts: of the ``N k`` tokens, for encoders that read them.

        Returns:
            ``[N, D]`` float32.
        """
        return (rows * is_there[..., None]).sum(1) / is_there.sum(1, keepdim=True)

    def saved(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds of the encoder, by name: the tensors in use, no copies. All else follows from
        the settings and the embedding matrix, and so do the units; with them, a checkpoint of other formulas is told
        apart."""
        units = {name: unit for name, unit in self.named_buffers() if name.endswith("unit")}
        return {name: parameter.data for name, parameter in self.named_parameters()} | units


class WeightedMean(BlockEncoder):
    """A weight for each place in a block and each dimension. Places without a token have a learned embedding."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((size, width), 1 / size))
        self.padding = nn.Parameter(torch.zeros(width))

    def forward(self, rows: Tensor, is_there: Tensor, contexts: Contexts | None = None) -> Tensor:
        return (torch.where(is_there[..., None], rows, self.padding) * self.weights).sum(1)


class BlockMLP(BlockEncoder):
    """A linear map of a block's concatenated embeddings, which begins as their mean, and an MLP that begins at zero.
    Places without a token have a learned embedding."""

    def __init__(self, matrix: Tensor, config: BlocksConfig, generator: torch.Generator) -> None:
        """Initialise the encoder; the standard deviations of ``matrix`` ``[V, D]`` are the units of the MLP."""
        super().__init__()
        width, size = matrix.shape[1], config.size
        self.padding = nn.Parameter(torch.zeros(width))
        std = column_std(matrix)
        self.map = LinearWithResidual(
            torch.eye(width).repeat(1, size) / size,
            torch.zeros(width),
            std.repeat(size),
            hidden=config.hidden,
            generator=generator,
            unit=std,
        )

    def forward(self, rows: Tensor, is_there: Tensor, contexts: Contexts | None = None) -> Tensor:
        encoded: Tensor = self.map(torch.where(is_there[..., None], rows, self.padding).flatten(1))
        return encoded


class BlockPCA(BlockEncoder):
    """A linear map of a block's code, which begins as the mean of the embeddings that are rebuilt from it, and an MLP
    that begins at zero. Codes are fixed: coordinates along the leading principal axes of the block's embeddings end to
    end. Places without a token are zeros."""

    mean: Tensor
    """``[k D]``."""
    components: Tensor
    """``[K, k D]``: orthonormal axes."""

    def __init__(self, matrix: Tensor, projection: PCACodec, config: BlocksConfig, generator: torch.Generator) -> None:
        """Initialise the encoder, on the CPU as ``projection`` of ``k D`` numbers to a code; the standard deviations of
        ``matrix`` ``[V, D]`` are the units of what the MLP adds."""
        super().__init__()
        for name in ("mean", "components"):
            self.register_buffer(name, getattr(projection, name).contiguous(), persistent=False)
        weight, bias, std = projection.linear_decoder()
        self.map = LinearWithResidual(
            weight.unflatten(0, (config.size, -1)).mean(0),
            bias.unflatten(0, (config.size, -1)).mean(0),
            std,
            hidden=config.hidden,
            generator=generator,
            unit=column_std(matrix),
        )

    def forward(self, rows: Tensor, is_there: Tensor, contexts: Contexts | None = None) -> Tensor:
        encoded: Tensor = self.map((end_to_end(rows, is_there) - self.mean) @ self.components.T)
        return encoded

    def saved(self) -> dict[str, Tensor]:
        own = {"mean": self.mean, "components": self.components, "map.inverse_std": self.map.inverse_std}
        return super().saved() | own
