"""PCA codes rounded to a few bits: uniform quantisation with a scale for each code dimension.

    q_k = clamp(round(z_k / s_k), -m, m)        z_k ~ s_k q_k        m = 2^(bits - 1) - 1

PCA codes are centred, so the steps are symmetric about zero and zero is exact. Within the range an error is at most
half a step, ``s_k / 2``. A range that holds the farthest row makes every step coarse for its sake; so each dimension
takes, of 64 ranges up to that one, the range with the least squared error over the rows seen, weighed as in the PCA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from thinwire.codecs.pca import PCACodec
from thinwire.codecs.weights import row_weights
from thinwire.config import CodecConfig

_NUM_RANGES = 64


@dataclass(frozen=True, kw_only=True)
class QuantizedPCACodec(PCACodec):
    """PCA whose codes are integers of ``codec.bits`` bits."""

    fields: ClassVar[tuple[str, ...]] = (*PCACodec.fields, "scale", "bits", "rounding_error")

    scale: Tensor
    """``[K]``, float32: what a code's 1 stands for, in each dimension."""
    bits: Tensor
    """``[]``, int64: of each integer, its sign counted."""
    rounding_error: Tensor
    """``[]``, float64: weighted variance that rounding adds, over all dimensions."""

    @classmethod
    def fit(cls, table: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """PCA, then the scales; see ``Codec.fit``. Nothing is random here."""
        assert config.bits is not None, "codec_class chooses this codec by its bits"
        pca = PCACodec.fit(table, counts, config, seed)
        weights = row_weights(counts.to(table.device), config.weighting)
        rows = weights.nonzero()[:, 0]
        codes, shares = pca.encode(table[rows]), weights[rows] / weights.sum()
        scale, error = _best_scale(codes, shares, _most(config.bits))
        bits = torch.tensor(config.bits, device=table.device)
        return cls(**pca.state(), scale=scale, bits=bits, rounding_error=error.sum())

    @property
    def code_bits(self) -> int:
        return self.code_width * int(self.bits)

    def encode(self, embeddings: Tensor) -> Tensor:
        """``[N, D]`` embeddings to ``[N, K]`` codes: int8 up to 8 bits, else int16."""
        rounded = _rounded(super().encode(embeddings), self.scale, _most(int(self.bits)))
        return rounded.to(torch.int8 if int(self.bits) <= 8 else torch.int16)

    def features(self, codes: Tensor) -> Tensor:
        """``[N, K]`` codes to ``[N, K]`` coordinates along the axes, float32."""
        return codes * self.scale

    def feature_tensors(self) -> tuple[Tensor, ...]:
        return (self.scale,)

    def figures(self) -> dict[str, float]:
        """What PCA says of itself, and the share of the total variance that rounding adds as error."""
        return {**super().figures(), "rounding_error": float(self.rounding_error / self.total_variance)}


def _most(bits: int) -> int:
    return (1 << bits - 1) - 1


def _rounded(codes: Tensor, scale: Tensor, most: int) -> Tensor:
    # A dimension in which nothing varies has scale 0, and codes of 0.
    return (codes / scale.clamp_min(1e-30)).round().clamp(-most, most)


def _best_scale(codes: Tensor, shares: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The scale of each dimension of ``codes`` ``[N, K]`` with the least squared error, rows weighing ``shares``.

    Returns:
        ``[K]`` float32 and, in float64, that error.
    """
    largest = codes.abs().amax(0) / most
    best, least = largest, torch.full_like(largest, torch.inf, dtype=torch.float64)
    for step in range(_NUM_RANGES, 0, -1):
        scale = largest * (step / _NUM_RANGES)
        error = shares @ (_rounded(codes, scale, most) * scale - codes).double().square()
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best, least
