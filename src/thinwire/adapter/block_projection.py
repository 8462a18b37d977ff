"""The projection of blocks of tokens to codes: PCA of their embeddings end to end (``blocks.encoder: pca``).

A block of k tokens is one vector of ``k D`` numbers, so PCA also finds what neighbouring tokens have in common, and a
code is thin and short at once. It is exact: each distinct block of the training prompts is a row that weighs as often
as it occurs. Memory is O((k D)^2) plus some thousand rows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.codecs.pca import PCACodec
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.token_weights import row_weights
from thinwire.config.block_settings import BlocksConfig
from thinwire.data.blocks import MISSING, Members
from thinwire.results.tensor_file import Layout


def end_to_end(rows: Tensor, is_there: Tensor) -> Tensor:
    """Put the embeddings of blocks, ``[N, k, D]``, end to end, ``[N, k D]``; those that are not there are zeros."""
    return (rows * is_there[..., None]).flatten(1)


def fit_projection(matrix: Tensor, members: Members, counts: NDArray[np.int64], config: BlocksConfig) -> PCACodec:
    """Fit the projection of blocks to codes on the device of ``matrix``; nothing is random.

    Args:
        matrix: embeddings of tokens, ``[V, D]``.
        members: the different blocks.
        counts: ``[N]``, how often each occurs.

    Returns:
        A codec of vectors of ``k D`` numbers, on the CPU.

    Raises:
        UsageError: codes would have more numbers than the embeddings of a block.
        ThinwireError: there are no blocks.
    """
    tokens = torch.from_numpy(members).to(matrix.device)
    weights = row_weights(torch.from_numpy(counts).to(matrix.device), "counts")

    def rows(numbers: Tensor) -> Tensor:
        chosen = tokens[numbers]
        return end_to_end(matrix[chosen.clamp(min=0)].float(), chosen != MISSING)

    return PCACodec.of_rows(rows, weights, config.numbers_in_code(matrix.shape[1])).to(torch.device("cpu"))


def codec_settings(config: BlocksConfig, width: int) -> CodecConfig:
    """Return the settings of the codec that ``fit_projection`` returns, for embeddings of ``width`` numbers."""
    return CodecConfig(kind="pca", compress_dim=config.numbers_in_code(width))


def blank_projection(config: BlocksConfig, width: int) -> PCACodec:
    """Return a projection of zeros, for embeddings of ``width`` numbers."""
    layout: Layout = PCACodec.layout(codec_settings(config, width), config.size * width)
    types = {"F32": torch.float32, "F64": torch.float64}
    return PCACodec(**{name: torch.zeros(one.shape, dtype=types[one.dtype]) for name, one in layout.items()})
