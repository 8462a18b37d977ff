"""Fit a codec to any embedding matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from thinwire.codecs.base import Codec
from thinwire.codecs.table import AnyCodecConfig, codec_class
from thinwire.config.auto import resolved
from thinwire.errors import UsageError, shown
from thinwire.schema import build


def fit_codec(
    matrix: Tensor, counts: Tensor | None = None, *, kind: str = "pca", seed: int = 0, **settings: Any
) -> Codec:
    """Fit a codec to the rows of an embedding matrix.

    >>> matrix = torch.eye(6)[:, :4] * torch.tensor([4.0, 3.0, 2.0, 1.0])
    >>> codec = fit_codec(matrix, kind="pca", ratio=2)
    >>> codes = codec.encode(matrix)
    >>> tuple(codes.shape), tuple(codec.decode(codes).shape)
    ((6, 2), (6, 4))

    Args:
        matrix: ``[V, D]``, float of any type.
        counts: ``[V]``, how often each row occurs in the texts to be compressed; by default all occur equally often.
        kind: name of the codec, ``pca``, ``quantized_pca``, ``autoencoder``, ``quantized_embeddings`` or ``vq``.
        settings: the other settings of ``codec`` in an experiment file, such as ``ratio=4``, ``compress_dim=64`` or
            ``vq={"codebook_size": 256}``.

    Returns:
        The codec. Its ``encode`` maps ``[N, D]`` embeddings to ``[N, K]`` codes and ``decode`` maps them back;
        ``codec.encode(matrix)[ids]`` are the codes of token ids. ``save`` writes it to a file.

    Raises:
        UsageError: there is no such kind or setting, or the shapes do not fit.
    """
    matrix = _as_tensor(matrix, "an embedding matrix").detach()
    config = resolved(build(AnyCodecConfig, {"kind": kind, **settings}, where="codec"), matrix.device.type)
    if matrix.ndim != 2 or not matrix.dtype.is_floating_point:
        raise UsageError(f"an embedding matrix has two dimensions of floats, got {list(matrix.shape)} {matrix.dtype}")
    if 0 in matrix.shape:
        raise UsageError(f"the embedding matrix is empty: its shape is {list(matrix.shape)}")
    if not matrix.isfinite().all():
        raise UsageError("the embedding matrix holds NaN or infinity")
    weights = torch.ones(len(matrix)) if counts is None else _as_tensor(counts, "counts")
    weights = weights.to("cpu", torch.float64)
    if weights.shape != (len(matrix),):
        raise UsageError(f"counts have the shape {list(weights.shape)}, expected one for each of {len(matrix)} rows")
    if not weights.isfinite().all() or not (weights >= 0).all() or not weights.any():
        raise UsageError("counts are finite numbers from 0 on, at least one of them positive")
    chosen = codec_class(config)
    chosen.check_fits(config, matrix.shape[1], len(matrix))
    return chosen.fit(matrix, weights, config, seed)


def _as_tensor(values: object, what: str) -> Tensor:
    """Return ``values``, a tensor, an array or lists of real numbers, as a tensor that holds all of them."""
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):  # torch has no one error for what it cannot take
        raise UsageError(f"{what}: a tensor, an array or lists of numbers expected, got {shown(values)}") from None
    if tensor.is_meta or tensor.layout is not torch.strided or tensor.is_complex():
        raise UsageError(
            f"{what}: real numbers in a dense tensor expected, got {tensor.dtype}, {tensor.layout} on {tensor.device}"
        )
    return tensor
