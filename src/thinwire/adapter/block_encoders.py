"""Encoders of blocks: one embedding out of those of a block's tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thinwire.adapter.block_projection import blank_projection, end_to_end
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.residual_mlp import LinearWithResidual, floored
from thinwire.config.block_settings import BlocksConfig


class BlockEncoder(nn.Module):
    """The mean of a block's embeddings, which has no parameters."""

    def forward(self, rows: Tensor, is_there: Tensor, contexts: Tensor, places: Tensor) -> Tensor:
        """Encode blocks.

        Args:
            rows: ``[N, k, D]`` float32.
            is_there: ``[N, k]``; rows where it is false do not count.
            contexts: ``[N]`` int64: the number of each block's context; for encoders that read contexts, of which all
                blocks must be there. Blocks with -1 are alone.
            places: ``[N]`` int64: the place of each in its context.

        Returns:
            ``[N, D]`` float32.
        """
        return (rows * is_there[..., None]).sum(1) / is_there.sum(1, keepdim=True)

    def saved(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds of the encoder, by name: the tensors in use, no copies. All else follows from
        the settings and the embedding matrix."""
        return {name: parameter.data for name, parameter in self.named_parameters()}


class WeightedMean(BlockEncoder):
    """A weight for each place in a block and each dimension. Places without a token have a learned embedding."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((size, width), 1 / size))
        self.padding = nn.Parameter(torch.zeros(width))

    def forward(self, rows: Tensor, is_there: Tensor, contexts: Tensor, places: Tensor) -> Tensor:
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

    def forward(self, rows: Tensor, is_there: Tensor, contexts: Tensor, places: Tensor) -> Tensor:
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

    def __init__(self, projection: PCACodec, config: BlocksConfig, generator: torch.Generator) -> None:
        """Initialise the encoder, on the CPU as ``projection`` of ``k D`` numbers to a code."""
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
        )

    def forward(self, rows: Tensor, is_there: Tensor, contexts: Tensor, places: Tensor) -> Tensor:
        encoded: Tensor = self.map((end_to_end(rows, is_there) - self.mean) @ self.components.T)
        return encoded

    def saved(self) -> dict[str, Tensor]:
        return super().saved() | dict(self.named_buffers())


class BlockTransformer(BlockEncoder):
    """A linear map of a block's concatenated embeddings, which begins as their mean, and a transformer that begins at
    zero: a context's tokens attend to each other in both directions, and a linear map takes the states of a block's
    tokens. Positions are sinusoids (Vaswani et al. 2017, arXiv:1706.03762). Places without a token have a learned
    embedding."""

    def __init__(self, matrix: Tensor, config: BlocksConfig, generator: torch.Generator) -> None:
        """Initialise the encoder; the standard deviations of ``matrix`` ``[V, D]`` scale the transformer's inputs."""
        super().__init__()
        width, size = matrix.shape[1], config.size
        self.padding = nn.Parameter(torch.zeros(width))
        self.linear = nn.Linear(size * width, width)
        layer = nn.TransformerEncoderLayer(
            width, _num_heads(width), config.hidden, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.output = nn.Linear(size * width, width)
        self.inverse_std: Tensor
        self.register_buffer("inverse_std", 1 / floored(matrix.float().std(0).cpu()), persistent=False)
        with torch.no_grad():
            for name, parameter in self.layers.named_parameters():
                if parameter.dim() == 2:
                    parameter.normal_(0, parameter.shape[1] ** -0.5, generator=generator)
                else:
                    parameter.fill_(float("norm" in name and name.endswith("weight")))
            self.linear.weight.copy_(torch.eye(width).repeat(1, size) / size)
            for zero in (self.linear.bias, self.output.weight, self.output.bias):
                zero.zero_()

    def forward(self, rows: Tensor, is_there: Tensor, contexts: Tensor, places: Tensor) -> Tensor:
        number, size, width = rows.shape
        tokens = torch.where(is_there[..., None], rows, self.padding)
        at = places[:, None] * size + torch.arange(size, device=rows.device)
        inputs = (tokens * self.inverse_std + _sinusoids(at, width)).view(1, number * size, width)
        context = contexts.repeat_interleave(size)
        own = torch.arange(number, device=rows.device).repeat_interleave(size)
        together = (context[:, None] == context) & (context >= 0) & is_there.flatten()
        apart = ~(together | (own[:, None] == own))
        # Else the module would look whether the mask is causal, on the CPU, which a CUDA graph cannot.
        states = self.layers(inputs, mask=apart, is_causal=False).view(number, size * width)
        encoded: Tensor = self.linear(tokens.flatten(1)) + self.output(states)
        return encoded


def _num_heads(width: int) -> int:
    """Return the number of heads of about 64 dimensions that divides ``width``."""
    return next(heads for heads in range(max(1, width // 64), 0, -1) if width % heads == 0)


def _sinusoids(positions: Tensor, width: int) -> Tensor:
    """Return the encodings ``[..., D]`` of positions."""
    rates = 10_000 ** (-torch.arange(0, width, 2, device=positions.device) / width)
    angles = positions[..., None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)[..., :width]


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
        case "pca":
            inputs = config.numbers_in_code(width)
            return width * (inputs + 1) + config.hidden * (inputs + 1) + width * (config.hidden + 1)
        case "transformer":
            layer = 4 * width * (width + 1) + config.hidden * (width + 1) + width * (config.hidden + 1) + 4 * width
            return width + 2 * width * (config.size * width + 1) + config.layers * layer + 2 * width


def make_block_encoder(
    config: BlocksConfig, matrix: Tensor, generator: torch.Generator, projection: PCACodec | None = None
) -> BlockEncoder:
    """Make a block encoder with its initial values, on the device of ``matrix`` ``[V, D]``.

    Args:
        projection: to codes, on the CPU, for ``pca``; by default one of zeros, in whose place a saved one is loaded.

    Raises:
        UsageError: codes would have more numbers than the embeddings of a block.
    """
    match config.encoder:
        case "mean":
            return BlockEncoder()
        case "weighted_mean":
            return WeightedMean(config.size, matrix.shape[1]).to(matrix.device)
        case "mlp":
            return BlockMLP(matrix, config, generator).to(matrix.device)
        case "pca":
            projection = projection or blank_projection(config, matrix.shape[1])
            return BlockPCA(projection, config, generator).to(matrix.device)
        case "transformer":
            return BlockTransformer(matrix, config, generator).to(matrix.device)
