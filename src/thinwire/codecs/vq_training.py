"""Train a vector quantiser (``vq``) on the rows of the embedding matrix, with the library vector-quantize-pytorch.

A linear encoder and decoder start at the PCA projection and its inverse. Both are trained by the reconstruction loss;
the encoder gets straight-through gradients and the commitment loss. Entries are running means of the latent vectors
assigned to them. They are initialised by k-means, and an entry without assignments is reset to a row of the batch.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from thinwire.codecs.pca import PCACodec
from thinwire.codecs.reconstruction_loss import matrix_mean_square, reconstruction_terms
from thinwire.codecs.settings import CodecConfig, RowTrainingConfig
from thinwire.codecs.token_weights import row_probabilities, row_weights
from thinwire.determinism import generator, seeded
from thinwire.errors import UsageError, check_finite
from thinwire.schema import Auto, ByDevice, PositiveInt, Rate, Section, Weight

_LOSS = RowTrainingConfig()
"""Loss weights and uniform share of the drawn rows: the defaults of adapters."""

logger = logging.getLogger(__name__)


class VQConfig(Section):
    """Vector quantisation (``codec.kind=vq``): the code of a token is the indices of its codebook entries."""

    form: Literal["single", "residual", "product"] = "single"
    """``single``: one codebook; ``residual``: several, each for the residual of those before; ``product``: one for each
    part of the latent vector."""
    codebook_size: Annotated[int, Field(ge=2, le=1_000_000)] = 512
    """Entries of each codebook."""
    num_codebooks: Annotated[int, Field(gt=0, le=10_000)] | None = None
    """Number of codebooks, and of integers in a code; by default 8, and always 1 where ``form`` is single."""
    steps: Annotated[PositiveInt | Auto, ByDevice(cuda=2_000, cpu=500)] = "auto"
    """Optimiser steps; ``auto`` is 2,000 on a GPU and 500 on a CPU."""
    learning_rate: Rate = 1e-3
    """Peak learning rate of AdamW for the linear encoder and decoder; cosine decay to zero."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Decay of the running mean that defines an entry: this share of it is kept at each step."""
    commitment_weight: Weight = 0.25
    """Weight of the squared distance between a latent vector and its entry, which keeps the encoder near the entries.
    """
    dead_below: Weight = 0.5
    """An entry with fewer assigned rows per step (running mean) is reset to a row of the batch; 0 disables this."""
    kmeans_iterations: Annotated[int, Field(ge=0, le=10_000)] = 10
    """Iterations of k-means over the rows seen, which initialises the entries; 0 initialises them at random, which does
    no harm where unused entries are reset."""

    @property
    def resolved_codebooks(self) -> int:
        """``num_codebooks`` with its default resolved."""
        return self.num_codebooks or (1 if self.form == "single" else 8)

    @model_validator(mode="after")
    def _single_has_one(self) -> VQConfig:
        if self.form == "single" and self.resolved_codebooks != 1:
            raise ValueError(
                f"form is single, which has 1 codebook, and num_codebooks is {self.num_codebooks}; "
                "choose form residual or product, or leave num_codebooks out"
            )
        return self


def train(matrix: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> dict[str, Tensor]:
    """Train encoder, codebooks and decoder on rows of ``matrix`` ``[V, D]``, drawn by ``counts`` (``[V]``) and
    weighting.

    Returns:
        ``encoder_weight`` ``[L, D]``, ``encoder_bias`` ``[L]``, ``decoder_weight`` ``[D, L]``, ``decoder_bias`` ``[D]``
        and ``codebooks`` ``[M, size, L or L / M]``, float32.

    Raises:
        UsageError: the library is missing, or the settings do not fit the matrix.
    """
    vq, device = config.own(VQConfig), matrix.device
    check_settings(vq, config.code_width(matrix.shape[1]), len(matrix))
    pca = PCACodec.fit(matrix, counts, config, seed)
    # In units of the matrix's root mean square, both losses are comparable across models.
    unit = matrix_mean_square(matrix, counts) ** 0.5
    probabilities = row_probabilities(row_weights(counts, config.weighting), _LOSS.uniform_share)
    probabilities = probabilities.to(device, torch.float32)
    draw = generator(device, seed, "vq rows")
    assert vq.steps != "auto", "config.auto puts the number in"
    total = vq.steps
    logger.info("fitting codec vq (%s): %d steps", vq.form, total)
    with seeded(seed, "vq", devices=[device]):  # the library draws from the global generator
        encoder, decoder = _linear_pair(pca, unit)
        quantizer = _quantizer(vq, pca.code_width).to(device)
        if vq.kmeans_iterations:
            seen = counts.nonzero()[:, 0].to(device)
            rows = matrix[seen] if len(seen) >= vq.codebook_size else matrix
            with torch.no_grad():
                quantizer(encoder(rows.float() / unit)[None])
        parameters = [*encoder.parameters(), *decoder.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=vq.learning_rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / total)) / 2)
        for _ in range(total):
            drawn = torch.multinomial(probabilities, _LOSS.batch_rows, replacement=True, generator=draw)
            # Each distinct row once; only the loss is weighted by how often it was drawn. Entries are then means over
            # distinct rows instead of the few most frequent ones, and unused entries are reset to other rows than
            # those.
            tokens, weights = drawn.unique(return_counts=True)
            target = matrix[tokens].float() / unit
            quantized, _, commitment = quantizer(encoder(target)[None])
            cosines, errors = reconstruction_terms(decoder(quantized[0]), target, weights, 1.0)
            loss = _LOSS.cosine_weight * (1 - cosines / weights.sum()) + _LOSS.mse_weight * errors / weights.sum()
            loss = loss + commitment.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    check_finite("the loss of codec vq", float(loss.detach()))
    return {
        "encoder_weight": encoder.weight.detach() / unit,
        "encoder_bias": encoder.bias.detach(),
        "decoder_weight": decoder.weight.detach() * unit,
        "decoder_bias": decoder.bias.detach() * unit,
        "codebooks": _codebooks(quantizer, vq),
    }


def check_settings(vq: VQConfig, width: int, num_rows: int) -> None:
    """Refuse settings that do not fit ``width`` latent numbers and a matrix of ``num_rows`` rows.

    Raises:
        UsageError: they do not, or vector-quantize-pytorch is missing.
    """
    if importlib.util.find_spec("vector_quantize_pytorch") is None:
        raise UsageError("codec.kind=vq needs the package vector-quantize-pytorch: pip install 'thinwire[vq]'")
    if vq.form == "product" and width % vq.resolved_codebooks:
        near = [n for n in range(1, width + 1) if width % n == 0]
        raise UsageError(
            f"codec.vq.num_codebooks is {vq.resolved_codebooks}, but a product code cuts {width} latent numbers into "
            f"equal parts; choose one of {', '.join(map(str, near))}, or another codec.compress_dim"
        )
    if vq.codebook_size > num_rows:
        raise UsageError(
            f"codec.vq.codebook_size is {vq.codebook_size}, but the embedding matrix has only {num_rows} rows; "
            f"choose 2 to {num_rows}"
        )


def _linear_pair(pca: PCACodec, unit: float) -> tuple[nn.Linear, nn.Linear]:
    """Return encoder and decoder with the PCA projection and its inverse, for embeddings in units of ``unit``."""
    width, embedding_width = pca.components.shape
    encoder = nn.Linear(embedding_width, width, device=pca.mean.device)
    decoder = nn.Linear(width, embedding_width, device=pca.mean.device)
    with torch.no_grad():
        encoder.weight.copy_(pca.components)
        encoder.bias.copy_(-pca.components @ pca.mean / unit)
        decoder.weight.copy_(pca.components.T)
        decoder.bias.copy_(pca.mean / unit)
    return encoder, decoder


def _quantizer(vq: VQConfig, width: int) -> Any:
    from vector_quantize_pytorch import ResidualVQ, VectorQuantize  # an extra, and two seconds to import

    shared: dict[str, Any] = {
        "dim": width,
        "codebook_size": vq.codebook_size,
        "decay": vq.decay,
        "commitment_weight": vq.commitment_weight,
        "threshold_ema_dead_code": vq.dead_below,
        "kmeans_init": vq.kmeans_iterations > 0,
        "kmeans_iters": vq.kmeans_iterations,
        "rotation_trick": False,  # the plain straight-through gradient
    }
    if vq.form == "residual":
        return ResidualVQ(num_quantizers=vq.resolved_codebooks, **shared)
    num = vq.resolved_codebooks  # 1 for form single
    return VectorQuantize(heads=num, codebook_dim=width // num, separate_codebook_per_head=True, **shared)


def _codebooks(quantizer: Any, vq: VQConfig) -> Tensor:
    held: Tensor = quantizer.codebooks if vq.form == "residual" else quantizer.codebook
    return held.detach().float().clone()
