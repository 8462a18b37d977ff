"""An autoencoder (Hinton & Salakhutdinov 2006, doi:10.1126/science.1127647): codes as wide as PCA's, but learned.

Encoder and decoder start at the PCA projection and its inverse, and an MLP beside each learns what to add. PCA keeps
what a *linear* decoder needs most; these codes are learned for a decoder with a hidden layer, as an adapter is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from thinwire.codecs.base import Codec
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.table_training import drawn_rows, resolve_steps, train_to_rebuild
from thinwire.codecs.weights import row_weights
from thinwire.config import CodecConfig, ReconstructionConfig
from thinwire.determinism import generator
from thinwire.objective import table_mean_square
from thinwire.residual import LinearWithResidual, mlp

logger = logging.getLogger(__name__)

_BLOCK_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class AutoencoderCodec(Codec):
    """Codes start as PCA coordinates, plus what an MLP of one hidden layer adds to them."""

    fields: ClassVar[tuple[str, ...]] = (
        *("encoder_weight", "encoder_bias", "encoder_hidden_weight", "encoder_hidden_bias"),
        *("encoder_output_weight", "encoder_output_bias"),
        *("decoder_weight", "decoder_bias", "decoder_hidden_weight", "decoder_hidden_bias"),
        *("decoder_output_weight", "decoder_output_bias", "spread", "explained_variance"),
    )

    encoder_weight: Tensor
    """``[K, D]``, float32: of the linear part."""
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
    """``[D, K]``, float32: of the linear part."""
    decoder_bias: Tensor
    """``[D]``, float32."""
    decoder_hidden_weight: Tensor
    """``[H, K]``, float32: for codes in units of ``spread``."""
    decoder_hidden_bias: Tensor
    """``[H]``, float32."""
    decoder_output_weight: Tensor
    """``[D, H]``, float32."""
    decoder_output_bias: Tensor
    """``[D]``, float32."""
    spread: Tensor
    """``[K]``, float32: weighted standard deviation of the PCA coordinates that the codes started as."""
    explained_variance: Tensor
    """``[]``, float64: share of the weighted variance that ``decode`` keeps."""

    @classmethod
    def fit(cls, table: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """Train on rows of ``table`` drawn as ``config`` weighs them, by the loss of adapters; see ``Codec.fit``."""
        settings, device = config.autoencoder, table.device
        pca, weights = PCACodec.fit(table, counts, config, seed), row_weights(counts.to(device), config.weighting)
        autoencoder = _Autoencoder(table, weights, pca, settings.hidden, seed)
        training = ReconstructionConfig(
            steps=settings.steps, learning_rate=settings.learning_rate, weighting=config.weighting
        )
        logger.info("fitting codec autoencoder: %d steps", resolve_steps(training.steps, device))
        batches = drawn_rows(counts, training, device, generator(device, seed, "autoencoder rows"))
        mean_square = table_mean_square(table, counts)
        train_to_rebuild(autoencoder, table, mean_square, batches, training, name="codec autoencoder", same_shapes=True)
        encoder, decoder, unit = autoencoder.encoder, autoencoder.decoder, autoencoder.unit
        tensors = {
            "encoder_weight": encoder.linear.weight * unit[:, None],
            "encoder_bias": encoder.linear.bias * unit,
            "encoder_hidden_weight": encoder.hidden.weight * encoder.inverse_spread,
            "encoder_hidden_bias": encoder.hidden.bias,
            "encoder_output_weight": encoder.output.weight * unit[:, None],
            "encoder_output_bias": encoder.output.bias * unit,
            "decoder_weight": decoder.linear.weight,
            "decoder_bias": decoder.linear.bias,
            "decoder_hidden_weight": decoder.hidden.weight,
            "decoder_hidden_bias": decoder.hidden.bias,
            "decoder_output_weight": decoder.output.weight,
            "decoder_output_bias": decoder.output.bias,
            "spread": unit,
            "explained_variance": 1 - autoencoder.lost(weights) / pca.total_variance,
        }
        return cls(**{name: tensor.detach() for name, tensor in tensors.items()})

    @property
    def code_width(self) -> int:
        return len(self.encoder_bias)

    def encode(self, embeddings: Tensor) -> Tensor:
        return torch.cat([self._encoded(block.float()) for block in embeddings.split(_BLOCK_ROWS)])

    def _encoded(self, embeddings: Tensor) -> Tensor:
        linear = nn.functional.linear(embeddings, self.encoder_weight, self.encoder_bias)
        layers = self.encoder_hidden_weight, self.encoder_hidden_bias
        return linear + mlp(embeddings, *layers, self.encoder_output_weight, self.encoder_output_bias)

    def linear_decoder(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.decoder_weight, self.decoder_bias, self.spread

    def residual_decoder(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return (
            *(self.decoder_hidden_weight, self.decoder_hidden_bias),
            *(self.decoder_output_weight, self.decoder_output_bias),
        )

    def figures(self) -> dict[str, float]:
        """The share of the total variance that the codec's own decoder keeps."""
        return {"explained_variance": float(self.explained_variance)}


class _Autoencoder(nn.Module):
    """Token ids ``[N]`` to rebuilt rows ``[N, D]``, by way of codes ``[N, K]``; PCA before it is trained."""

    def __init__(self, table: Tensor, weights: Tensor, pca: PCACodec, hidden: int, seed: int) -> None:
        super().__init__()
        weight, mean, spread = pca.linear_decoder()
        # Each number of a code has the size of its PCA coordinate, but the encoder works in units of that: one rate
        # then fits all of them, and the decoder too, whose weights are those of any adapter.
        self._table, self.unit = table, _floored(spread.float())
        draw, projection = generator("cpu", seed, "autoencoder"), pca.components / self.unit[:, None]
        seen = weights.nonzero()[:, 0]
        shares = (weights[seen] / weights.sum()).float()
        row_spread = _floored((shares @ (table[seen].float() - mean).square()).sqrt())
        self.encoder = LinearWithResidual(projection, -projection @ mean, row_spread, hidden=hidden, generator=draw)
        self.decoder = LinearWithResidual(weight, mean, self.unit, hidden=hidden, generator=draw)
        with torch.no_grad():  # the hidden layer sees rows around their mean too
            self.encoder.hidden.bias.copy_(-self.encoder.hidden.weight @ (mean / row_spread).cpu())
        self.to(table.device)

    def forward(self, tokens: Tensor) -> Tensor:
        codes = self.unit * self.encoder(self._table[tokens].float())
        out: Tensor = self.decoder(codes)
        return out

    @torch.no_grad()
    def lost(self, weights: Tensor) -> Tensor:
        """Mean squared distance of rows from what they are rebuilt as, weighing ``weights`` (``[V]``, float64)."""
        lost = torch.zeros_like(weights[0])
        for tokens in weights.nonzero()[:, 0].split(_BLOCK_ROWS):
            error = self._table[tokens].float() - self(tokens)
            lost += weights[tokens] @ error.double().square().sum(1)
        return lost / weights.sum()


def _floored(spread: Tensor) -> Tensor:
    """What hardly varies among the tokens seen must not drown the rest where it does vary."""
    return spread.clamp_min(1e-3 * float(spread.max()))
