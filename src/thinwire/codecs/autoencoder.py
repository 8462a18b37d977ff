"""An autoencoder codec (Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647): learned codes of PCA's width.

Encoder and decoder start at the PCA projection and its inverse; an MLP beside each learns a correction. PCA codes are
optimal for a *linear* decoder; these codes are trained for a decoder with a hidden layer, as an adapter has.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from thinwire.codecs.base import Codec
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.reconstruction_loss import matrix_mean_square
from thinwire.codecs.residual_mlp import LinearWithResidual, floored, mlp
from thinwire.codecs.row_training import drawn_rows, train_to_rebuild
from thinwire.codecs.settings import CodecConfig, RowTrainingConfig
from thinwire.codecs.token_weights import row_weights
from thinwire.determinism import generator
from thinwire.results.arm_record import CodecMetric
from thinwire.results.tensor_file import Layout, TensorType
from thinwire.schema import Auto, ByDevice, PositiveInt, Rate, Section, Width

logger = logging.getLogger(__name__)

_BLOCK_ROWS = 8192


class AutoencoderConfig(Section):
    """An autoencoder (``codec.kind=autoencoder``): learned codes of as many numbers as PCA's."""

    hidden: Width = 2304
    """Width of the hidden layers of encoder and decoder. An adapter of the same width starts as the decoder."""
    steps: Annotated[PositiveInt | Auto, ByDevice(cuda=10_000, cpu=1_000)] = "auto"
    """Optimiser steps; ``auto`` is 10,000 on a GPU and 1,000 on a CPU."""
    learning_rate: Rate = 2e-3
    """Peak learning rate of AdamW; linear warm-up over 50 steps, then cosine decay to zero."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderCodec(Codec):
    """A linear encoder and decoder, initialised by PCA, each with a residual MLP of one hidden layer."""

    Settings: ClassVar[type[Section] | None] = AutoencoderConfig
    fields: ClassVar[tuple[str, ...]] = (
        *("encoder_weight", "encoder_bias", "encoder_hidden_weight", "encoder_hidden_bias"),
        *("encoder_output_weight", "encoder_output_bias"),
        *("decoder_weight", "decoder_bias", "decoder_hidden_weight", "decoder_hidden_bias"),
        *("decoder_output_weight", "decoder_output_bias", "std", "explained_variance"),
    )

    encoder_weight: Tensor
    """``[K, D]``, float32: linear part of the encoder."""
    encoder_bias: Tensor
    """``[K]``, float32."""
    encoder_hidden_weight: Tensor
    """``[H, D]``, float32."""
    encoder_hidden_bias: Tensor
    """``[H]``, float32."""
    encoder_output_weight: Tensor
    """``[K, H]``, float32."""
    encoder_output_bias: Tensor
    """``[K]``, float32."""
    decoder_weight: Tensor
    """``[D, K]``, float32: linear part of the decoder."""
    decoder_bias: Tensor
    """``[D]``, float32."""
    decoder_hidden_weight: Tensor
    """``[H, K]``, float32: for codes in units of ``std``."""
    decoder_hidden_bias: Tensor
    """``[H]``, float32."""
    decoder_output_weight: Tensor
    """``[D, H]``, float32."""
    decoder_output_bias: Tensor
    """``[D]``, float32."""
    std: Tensor
    """``[K]``, float32: weighted standard deviation of the PCA coordinates that the codes are initialised with."""
    explained_variance: Tensor
    """``[]``, float64: share of the weighted variance that ``decode`` keeps."""

    @classmethod
    def fit(cls, matrix: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """Train on rows of ``matrix`` drawn by ``config.weighting``, with the loss of adapters; see ``Codec.fit``."""
        settings, device = config.own(AutoencoderConfig), matrix.device
        pca, weights = PCACodec.fit(matrix, counts, config, seed), row_weights(counts.to(device), config.weighting)
        autoencoder = _Autoencoder(matrix, weights, pca, settings.hidden, seed)
        training = RowTrainingConfig(
            steps=settings.steps, learning_rate=settings.learning_rate, weighting=config.weighting
        )
        logger.info("fitting codec autoencoder: %s steps", training.steps)
        batches = drawn_rows(counts, training, device, generator(device, seed, "autoencoder rows"))
        mean_square = matrix_mean_square(matrix, counts)
        train_to_rebuild(
            autoencoder, matrix, mean_square, batches, training, name="codec autoencoder", same_shapes=True
        )
        encoder, decoder, unit = autoencoder.encoder, autoencoder.decoder, autoencoder.unit
        tensors = {
            "encoder_weight": encoder.linear.weight * unit[:, None],
            "encoder_bias": encoder.linear.bias * unit,
            "encoder_hidden_weight": encoder.hidden.weight * encoder.inverse_std,
            "encoder_hidden_bias": encoder.hidden.bias,
            "encoder_output_weight": encoder.output.weight * unit[:, None],
            "encoder_output_bias": encoder.output.bias * unit,
            "decoder_weight": decoder.linear.weight,
            "decoder_bias": decoder.linear.bias,
            "decoder_hidden_weight": decoder.hidden.weight,
            "decoder_hidden_bias": decoder.hidden.bias,
            "decoder_output_weight": decoder.output.weight,
            "decoder_output_bias": decoder.output.bias,
            "std": unit,
            "explained_variance": 1 - autoencoder.lost(weights) / pca.total_variance,
        }
        return cls(**{name: tensor.detach() for name, tensor in tensors.items()})

    @classmethod
    def layout(cls, config: CodecConfig, embedding_width: int) -> Layout:
        width, hidden = config.code_width(embedding_width), config.own(AutoencoderConfig).hidden
        shapes = {
            "encoder_weight": (width, embedding_width),
            "encoder_bias": (width,),
            "encoder_hidden_weight": (hidden, embedding_width),
            "encoder_hidden_bias": (hidden,),
            "encoder_output_weight": (width, hidden),
            "encoder_output_bias": (width,),
            "decoder_weight": (embedding_width, width),
            "decoder_bias": (embedding_width,),
            "decoder_hidden_weight": (hidden, width),
            "decoder_hidden_bias": (hidden,),
            "decoder_output_weight": (embedding_width, hidden),
            "decoder_output_bias": (embedding_width,),
            "std": (width,),
        }
        floats = {name: TensorType("F32", shape) for name, shape in shapes.items()}
        return {**floats, "explained_variance": TensorType("F64", ())}

    @property
    def code_width(self) -> int:
        return len(self.encoder_bias)

    def _encode(self, embeddings: Tensor) -> Tensor:
        return torch.cat([self._encode_block(block.float()) for block in embeddings.split(_BLOCK_ROWS)])

    def _encode_block(self, embeddings: Tensor) -> Tensor:
        linear = nn.functional.linear(embeddings, self.encoder_weight, self.encoder_bias)
        layers = self.encoder_hidden_weight, self.encoder_hidden_bias
        return linear + mlp(embeddings, *layers, self.encoder_output_weight, self.encoder_output_bias)

    def linear_decoder(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.decoder_weight, self.decoder_bias, self.std

    def residual_decoder(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (
            *(self.decoder_hidden_weight, self.decoder_hidden_bias),
            *(self.decoder_output_weight, self.decoder_output_bias),
        )

    def metrics(self) -> tuple[CodecMetric, ...]:
        """Return the share of the total variance that the codec's own decoder keeps."""
        kept = float(self.explained_variance)
        return (CodecMetric(name="explained_variance", label="variance kept", value=kept),)


class _Autoencoder(nn.Module):
    """Map token ids ``[N]`` to rebuilt rows ``[N, D]`` through codes ``[N, K]``. Before training, this equals PCA."""

    def __init__(self, matrix: Tensor, weights: Tensor, pca: PCACodec, hidden: int, seed: int) -> None:
        super().__init__()
        weight, mean, std = pca.linear_decoder()
        # Codes have the scale of their PCA coordinates, but the encoder's outputs are in units of their std: one
        # learning rate then fits all of them, and the decoder, whose parameters are scaled as any adapter's.
        self._matrix, self.unit = matrix, floored(std.float())
        draw, projection = generator("cpu", seed, "autoencoder"), pca.components / self.unit[:, None]
        seen = weights.nonzero()[:, 0]
        relative_weights = (weights[seen] / weights.sum()).float()
        row_std = floored((relative_weights @ (matrix[seen].float() - mean).square()).sqrt())
        self.encoder = LinearWithResidual(projection, -projection @ mean, row_std, hidden=hidden, generator=draw)
        self.decoder = LinearWithResidual(weight, mean, self.unit, hidden=hidden, generator=draw)
        with torch.no_grad():  # the hidden layer's inputs are centred too
            self.encoder.hidden.bias.copy_(-self.encoder.hidden.weight @ (mean / row_std).cpu())
        self.to(matrix.device)

    def forward(self, tokens: Tensor) -> Tensor:
        codes = self.unit * self.encoder(self._matrix[tokens].float())
        out: Tensor = self.decoder(codes)
        return out

    @torch.no_grad()
    def lost(self, weights: Tensor) -> Tensor:
        """Return the mean squared distance of rows from their reconstructions, weighted by ``weights`` (``[V]``,
        float64)."""
        lost = torch.zeros_like(weights[0])
        for tokens in weights.nonzero()[:, 0].split(_BLOCK_ROWS):
            error = self._matrix[tokens].float() - self(tokens)
            lost += weights[tokens] @ error.double().square().sum(1)
        return lost / weights.sum()
