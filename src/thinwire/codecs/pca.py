"""Principal component analysis of the token stream, computed exactly from the embedding matrix.

A corpus of N tokens is N rows of the matrix, so its covariance is the count-weighted covariance of the matrix's rows
(``[D, D]``): nothing is sampled and no token matrix is built. Memory is O(D^2) plus one block of rows. Other weights
(``codec.weighting``) are computed as exactly, but describe another distribution than the token stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from thinwire.codecs.base import Codec
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.token_weights import row_weights
from thinwire.results.arm_record import CodecMetric
from thinwire.results.tensor_file import Layout, TensorType

_BLOCK_ROWS = 8192

_LEAST_VARIANCE = 1e-9
"""Share of the largest variance below which an axis is one of rounding."""


@dataclass(frozen=True, kw_only=True)
class PCACodec(Codec):
    """Codes are coordinates along the K leading principal axes, centred on the weighted mean."""

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
    def fit(cls, matrix: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """Eigendecompose the weighted covariance in float64; see ``Codec.fit``. Nothing is random."""
        code_width = config.code_width(matrix.shape[1])
        weights = row_weights(counts.to(matrix.device), config.weighting)
        # Most of a vocabulary never occurs in a corpus; rows of weight 0 contribute nothing.
        seen = weights.nonzero()[:, 0]
        return cls.of_rows(lambda numbers: matrix[seen[numbers]], weights[seen], code_width)

    @classmethod
    def of_rows(cls, rows: Callable[[Tensor], Tensor], weights: Tensor, code_width: int) -> Self:
        """Fit to weighted rows that need not be in memory all at once.

        Args:
            rows: makes rows ``[n, D]`` of their numbers ``[n]``, int64; called twice for each block of them.
            weights: ``[N]``, float64, of the rows 0 to N - 1; not all 0.
            code_width: 1 to D axes that are kept.
        """
        mean, covariance = _moments(rows, weights / weights.sum())
        variances, axes = _eigh(covariance)
        axes = axes.flip(1)[:, :code_width].T
        # An axis and its negative are equivalent; a fixed sign makes the fit deterministic.
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        return cls(
            mean=mean.float(),
            components=(axes * largest.sign()).float(),
            variances=variances.flip(0)[:code_width].clamp_min(0),
            total_variance=variances.sum(),
        )

    @classmethod
    def layout(cls, config: CodecConfig, embedding_width: int) -> Layout:
        width = config.code_width(embedding_width)
        return {
            "mean": TensorType("F32", (embedding_width,)),
            "components": TensorType("F32", (width, embedding_width)),
            "variances": TensorType("F64", (width,)),
            "total_variance": TensorType("F64", ()),
        }

    @property
    def code_width(self) -> int:
        return len(self.components)

    def _encode(self, embeddings: Tensor) -> Tensor:
        return (embeddings.float() - self.mean) @ self.components.T

    def linear_decoder(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.components.T, self.mean, self.variances.sqrt()

    @classmethod
    def label(cls, config: CodecConfig) -> str:
        return "PCA"

    def metrics(self) -> tuple[CodecMetric, ...]:
        """Return the share of the *total* variance that the kept axes explain."""
        return (CodecMetric(name="explained_variance", label="variance kept", value=self.variance_kept),)

    @property
    def spanned(self) -> int:
        """Dimensions of the code in which the rows seen differ; the others are arbitrary."""
        return int((self.variances > _LEAST_VARIANCE * self.variances.max()).sum())

    @property
    def variance_kept(self) -> float:
        """Share of the total variance that the kept axes explain, 0 to 1; all of it where the rows do not vary."""
        return float(self.variances.sum() / self.total_variance) if self.total_variance > 0 else 1.0

    def warnings(self) -> tuple[str, ...]:
        """Return a warning if the rows seen span fewer dimensions than the code has."""
        if self.spanned == self.code_width:
            return ()
        return (
            f"the training prompts' tokens span {self.spanned} dimensions, and a code has {self.code_width}: the "
            "others are arbitrary, and tokens that no training prompt holds are rebuilt badly; train on more text, or "
            "set codec.weighting=uniform or a smaller codec.compress_dim",
        )

    def cache_key(self) -> str | None:
        return None


def _moments(rows: Callable[[Tensor], Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean ``[D]`` and covariance ``[D, D]``, float64, of the rows, block by block; weights sum to 1."""
    numbers = torch.arange(len(weights), device=weights.device)
    blocks = list(zip(numbers.split(_BLOCK_ROWS), weights.split(_BLOCK_ROWS), strict=True))
    width = rows(numbers[:1]).shape[1]
    mean = torch.zeros(width, dtype=torch.float64, device=weights.device)
    for block, block_weights in blocks:
        mean += block_weights @ rows(block).double()
    covariance = torch.zeros(width, width, dtype=torch.float64, device=weights.device)
    for block, block_weights in blocks:
        # Centre first: subtracting the mean's outer product afterwards would lose digits to cancellation.
        covariance += _gram((rows(block).double() - mean) * block_weights.sqrt()[:, None])
    return mean, covariance


# numpy on a CPU: its product of a matrix with its own transpose computes only one half, and its LAPACK takes two
# thirds of the time of torch's (4,096 dimensions, two cores).


def _gram(rows: Tensor) -> Tensor:
    if rows.device.type != "cpu":
        return rows.T @ rows
    array = rows.numpy()
    return torch.from_numpy(array.T @ array)


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, ascending, and eigenvectors in columns."""
    if matrix.device.type != "cpu":
        values, vectors = torch.linalg.eigh(matrix)
        return values, vectors
    found = np.linalg.eigh(matrix.numpy())
    return torch.from_numpy(found.eigenvalues), torch.from_numpy(found.eigenvectors)
