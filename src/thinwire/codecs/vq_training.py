"""Training a vector quantiser on the rows of the embedding table, with the library vector-quantize-pytorch.

A linear encoder and decoder start at the PCA projection and its inverse. They learn from the reconstruction loss, the
encoder by straight-through gradients and by the commitment to its entries; the entries are running means of the latent
vectors that take them, start at k-means, and start again at a row of the batch where nothing takes them any more.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from typing import Any

import torch
from torch import Tensor, nn

from thinwire.codecs.pca import PCACodec
from thinwire.codecs.weights import row_shares, row_weights
from thinwire.config import CodecConfig, ReconstructionConfig, VQConfig
from thinwire.determinism import generator, seeded
from thinwire.errors import UsageError
from thinwire.objective import check_finite, reconstruction_terms, table_mean_square

logger = logging.getLogger(__name__)

_AUTO_STEPS = {"cuda": 2_000, "cpu": 500}
_LOSS = ReconstructionConfig()
"""Errors are weighed, and some rows drawn uniformly, as adapters are trained by default."""


def resolve_vq_steps(config: VQConfig, device: torch.device) -> int:
    """The step budget, ``auto`` resolved for ``device``."""
    if config.steps == "auto":
        return _AUTO_STEPS["cuda" if device.type == "cuda" else "cpu"]
    return config.steps


def train_quantizer(table: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> dict[str, Tensor]:
    """Fit encoder, codebooks and decoder to ``table`` ``[V, D]``, rows drawn by ``counts`` (``[V]``) as
    ``config`` weighs them.

    Returns:
        ``encoder_weight`` ``[L, D]``, ``encoder_bias`` ``[L]``, ``decoder_weight`` ``[D, L]``, ``decoder_bias``
        ``[D]`` and ``codebooks`` ``[M, size, L or L / M]``, float32.

    Raises:
        UsageError: the library is missing, or the settings do not fit the table.
    """
    vq, device = config.vq, table.device
    _check(vq, config.code_width(table.shape[1]), len(table))
    pca = PCACodec.fit(table, counts, config, seed)
    # In units of the table's root mean square, commitment and reconstruction mean the same for every model.
    unit = table_mean_square(table, counts) ** 0.5
    shares = row_shares(row_weights(counts, config.weighting), _LOSS.uniform_share).to(device, torch.float32)
    draw = generator(device, seed, "vq rows")
    total = resolve_vq_steps(vq, device)
    logger.info("fitting codec vq (%s): %d steps", vq.form, total)
    with seeded(seed, "vq"):  # the library draws from the global generator
        encoder, decoder = _linear_pair(pca, unit)
        quantizer = _quantizer(vq, pca.code_width).to(device)
        if vq.kmeans_iterations:
            seen = counts.nonzero()[:, 0].to(device)
            rows = table[seen] if len(seen) >= vq.codebook_size else table
            with torch.no_grad():
                quantizer(encoder(rows.float() / unit)[None])
        parameters = [*encoder.parameters(), *decoder.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=vq.learning_rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / total)) / 2)
        for _ in range(total):
            drawn = torch.multinomial(shares, _LOSS.batch_rows, replacement=True, generator=draw)
            # Each row once, weighing as often as it was drawn: an entry is then the mean of rows, not of the few that
            # are most of a text, and a dead one does not start again where one of these already has its own.
            tokens, weights = drawn.unique(return_counts=True)
            target = table[tokens].float() / unit
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


def _check(vq: VQConfig, width: int, num_rows: int) -> None:
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
            f"codec.vq.codebook_size is {vq.codebook_size}, but the embedding table has only {num_rows} rows; "
            f"choose 2 to {num_rows}"
        )


def _linear_pair(pca: PCACodec, unit: float) -> tuple[nn.Linear, nn.Linear]:
    """The PCA projection and its inverse, for embeddings in units of ``unit``."""
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
    num = vq.resolved_codebooks  # one for a single codebook
    return VectorQuantize(heads=num, codebook_dim=width // num, separate_codebook_per_head=True, **shared)


def _codebooks(quantizer: Any, vq: VQConfig) -> Tensor:
    held: Tensor = quantizer.codebooks if vq.form == "residual" else quantizer.codebook
    return held.detach().float().clone()
