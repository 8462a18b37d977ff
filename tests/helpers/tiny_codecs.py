"""A small random embedding matrix with token counts, and PCA codecs fitted to it."""

import torch

from thinwire.codecs.pca import PCACodec
from thinwire.codecs.settings import CodecConfig


def matrix_and_counts(rows=200, width=24, seed=0):
    """Make a random matrix ``[rows, width]`` with falling variances, and token counts of 0 to 8."""
    generator = torch.Generator().manual_seed(seed)
    std = torch.linspace(2, 0.1, width)
    matrix = torch.randn(rows, width, generator=generator) * std + 0.3
    counts = torch.randint(0, 9, (rows,), generator=generator).double()
    return matrix, counts


def pca(matrix, counts, width, **settings):
    """Fit a PCA codec with ``width`` axes."""
    return PCACodec.fit(matrix, counts, CodecConfig(compress_dim=width, **settings), 0)


def metrics(codec):
    """Return the values of a codec's metrics by name."""
    return {metric.name: metric.value for metric in codec.metrics()}
