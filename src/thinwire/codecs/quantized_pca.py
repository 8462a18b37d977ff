"""PCA codes rounded to a few bits: uniform quantisation with one scale per code dimension.

    q_k = clamp(round(z_k / s_k), -m, m)        z_k ~ s_k q_k        m = 2^(bits - 1) - 1

PCA codes are centred, so the levels are symmetric about zero and zero is exact. Within the range, an error is at most
half a step, ``s_k / 2``. A range up to the largest value would make every step coarse; so each dimension takes, of 64
ranges up to that one, the range with the least squared error over the rows seen, weighted as in the PCA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import Self

from thinwire.codecs.pca import PCACodec
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.token_weights import row_weights
from thinwire.results.arm_record import CodecMetric
from thinwire.results.tensor_file import Layout, TensorType
from thinwire.schema import Section

_NUM_RANGES = 64


class QuantizedPCAConfig(Section):
    """PCA with rounded coordinates (``codec.kind=quantized_pca``)."""

    bits: Literal[16, 8, 4] = 8
    """Bits of each integer of a code, including its sign."""


@dataclass(frozen=True, kw_only=True)
class QuantizedPCACodec(PCACodec):
    """PCA codes as integers of ``codec.quantized_pca.bits`` bits."""

    Settings: ClassVar[type[Section] | None] = QuantizedPCAConfig
    fields: ClassVar[tuple[str, ...]] = (*PCACodec.fields, "scale", "bits", "rounding_error")

    scale: Tensor
    """``[K]``, float32: the step of each dimension."""
    bits: Tensor
    """``[]``, int64: bits of each integer, including its sign."""
    rounding_error: Tensor
    """``[]``, float64: weighted squared error of rounding, summed over all dimensions."""

    @classmethod
    def fit(cls, matrix: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """Fit PCA, then the scales; see ``Codec.fit``. Nothing is random."""
        num_bits = config.own(QuantizedPCAConfig).bits
        pca = PCACodec.fit(matrix, counts, config, seed)
        weights = row_weights(counts.to(matrix.device), config.weighting)
        rows = weights.nonzero()[:, 0]
        codes = pca.encode(matrix[rows])
        scale, error = _best_scale(codes, weights[rows] / weights.sum(), _largest_level(num_bits))
        bits = torch.tensor(num_bits, device=matrix.device)
        return cls(**pca.state(), scale=scale, bits=bits, rounding_error=error.sum())

    @classmethod
    def layout(cls, config: CodecConfig, embedding_width: int) -> Layout:
        return {
            **super().layout(config, embedding_width),
            "scale": TensorType("F32", (config.code_width(embedding_width),)),
            "bits": TensorType("I64", ()),
            "rounding_error": TensorType("F64", ()),
        }

    @property
    def code_bits(self) -> int:
        return self.code_width * int(self.bits)

    def _encode(self, embeddings: Tensor) -> Tensor:
        """Encode ``[N, D]`` embeddings as ``[N, K]`` codes: int8 up to 8 bits, else int16."""
        rounded = _rounded(super()._encode(embeddings), self.scale, _largest_level(int(self.bits)))
        return rounded.to(torch.int8 if int(self.bits) <= 8 else torch.int16)

    def features(self, codes: Tensor) -> Tensor:
        """Map ``[N, K]`` codes to ``[N, K]`` coordinates along the axes, float32."""
        return codes * self.scale

    def feature_tensors(self) -> tuple[Tensor, ...]:
        return (self.scale,)

    @classmethod
    def label(cls, config: CodecConfig) -> str:
        return "quantised PCA"

    def metrics(self) -> tuple[CodecMetric, ...]:
        """Return PCA's metrics, and the error of rounding as a share of the total variance."""
        lost = float(self.rounding_error / self.total_variance)
        return (*super().metrics(), CodecMetric(name="rounding_error", label="lost in rounding", value=lost))

    def cache_key(self) -> str:
        # Small differences between two fits of PCA can change an integer by a whole step.
        return self.fingerprint()


def _largest_level(bits: int) -> int:
    return (1 << bits - 1) - 1


def _rounded(codes: Tensor, scale: Tensor, largest_level: int) -> Tensor:
    # A dimension without variance has scale 0 and codes of 0.
    return (codes / scale.clamp_min(1e-30)).round().clamp(-largest_level, largest_level)


def _best_scale(codes: Tensor, weights: Tensor, largest_level: int) -> tuple[Tensor, Tensor]:
    """Find the scale of each dimension of ``codes`` ``[N, K]`` with the least squared error, rows weighted by
    ``weights``.

    Returns:
        The scales, ``[K]`` float32, and their errors, ``[K]`` float64.
    """
    largest = codes.abs().amax(0) / largest_level
    best, least = largest, torch.full_like(largest, torch.inf, dtype=torch.float64)
    for step in range(_NUM_RANGES, 0, -1):
        scale = largest * (step / _NUM_RANGES)
        error = weights @ (_rounded(codes, scale, largest_level) * scale - codes).double().square()
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best, least
