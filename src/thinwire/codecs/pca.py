"""Principal component analysis of the token stream, computed exactly from the embedding table.

A corpus of N tokens is N rows of the table, so its covariance is the count-weighted covariance of the table's rows
(``[D, D]``): nothing is sampled and no token matrix is built. Memory is O(D^2) beyond one block of rows. Other weights
than counts are as exact, and answer another question (``codec.weighting``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from thinwire.codecs.base import Codec
from thinwire.codecs.weights import row_weights
from thinwire.config import CodecConfig

_BLOCK_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class PCACodec(Codec):
    """Codes are coordinates along the K leading principal axes, centred on the mean token."""

    fields: ClassVar[tuple[str, ...]] = ("mean", "components", "variances", "total_variance")

    mean: Tensor
    """``[D]``, float32: the weighted mean embedding."""
    components: Tensor
    """``[K, D]``, float32: orthonormal axes, leading first."""
    variances: Tensor
    """``[K]``, float64: weighted variance along each axis."""
    total_variance: Tensor
    """``[]``, float64: variance over all D axes, kept or not."""

    @classmethod
    def fit(cls, table: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """Eigendecomposition of the weighted covariance in float64; see ``Codec.fit``. Nothing is random here."""
        code_width = config.code_width(table.shape[1])
        weights = row_weights(counts.to(table.device), config.weighting)
        # Most of a vocabulary never occurs in a corpus, and a row that weighs nothing adds nothing.
        seen = weights.nonzero()[:, 0]
        mean, covariance = _moments(table, seen, weights[seen] / weights.sum())
        variances, axes = _eigh(covariance)
        axes = axes.flip(1)[:, :code_width].T
        # An axis and its negative are equally right; fixing the sign makes the fit a function of its input.
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        return cls(
            mean=mean.float(),
            components=(axes * largest.sign()).float(),
            variances=variances.flip(0)[:code_width].clamp_min(0),
            total_variance=variances.sum(),
        )

    @property
    def code_width(self) -> int:
        return len(self.components)

    def encode(self, embeddings: Tensor) -> Tensor:
        return (embeddings.float() - self.mean) @ self.components.T

    def linear_decoder(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.components.T, self.mean, self.variances.sqrt()

    def figures(self) -> dict[str, float]:
        """The share of the *total* variance that the kept axes explain."""
        return {"explained_variance": float(self.variances.sum() / self.total_variance)}


def _moments(table: Tensor, rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``[D]`` and covariance ``[D, D]``, float64, of the given rows, whose weights add up to 1; block by block."""
    blocks = list(zip(rows.split(_BLOCK_ROWS), weights.split(_BLOCK_ROWS), strict=True))
    width = table.shape[1]
    mean = torch.zeros(width, dtype=torch.float64, device=table.device)
    for some, share in blocks:
        mean += share @ table[some].double()
    covariance = torch.zeros(width, width, dtype=torch.float64, device=table.device)
    for some, share in blocks:
        # Centring first: subtracting the mean's outer product afterwards would cancel digits.
        covariance += _gram((table[some].double() - mean) * share.sqrt()[:, None])
    return mean, covariance


# On a CPU, numpy: its product of a matrix with its own transpose computes one half alone, and its LAPACK takes two
# thirds of the time of torch's (4,096 dimensions, two cores).


def _gram(rows: Tensor) -> Tensor:
    if rows.device.type != "cpu":
        return rows.T @ rows
    array = rows.numpy()
    return torch.from_numpy(array.T @ array)


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors in columns."""
    if matrix.device.type != "cpu":
        values, vectors = torch.linalg.eigh(matrix)
        return values, vectors
    found = np.linalg.eigh(matrix.numpy())
    return torch.from_numpy(found.eigenvalues), torch.from_numpy(found.eigenvectors)
