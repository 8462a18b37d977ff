"""Vector quantisation: the code of a token is a few integers, indices into learned codebooks.

van den Oord et al. 2017 (arXiv:1711.00937) for one codebook; Zeghidour et al. 2021 (arXiv:2107.03312) for residual
codebooks; Jegou et al. 2011 (doi:10.1109/TPAMI.2010.57) for product codes.

The quantiser is trained on the rows of the embedding matrix with the library vector-quantize-pytorch. A linear encoder
and decoder start at the PCA projection and its inverse. Both are trained by the reconstruction loss; the encoder gets
straight-through gradients and the commitment loss. Entries are running means of the latent vectors assigned to them.
They are initialised by k-means, and an entry without assignments is reset to a row of the batch. A fitted codec is
plain tensors and does not need that library.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from thinwire.codecs.base import Codec
from thinwire.codecs.codebook_usage import collisions, entry_use, perplexity
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.reconstruction_loss import matrix_mean_square, reconstruction_terms
from thinwire.codecs.settings import CodecConfig, RowTrainingConfig
from thinwire.codecs.token_weights import row_probabilities, row_weights
from thinwire.determinism import generator, seeded
from thinwire.errors import UsageError, check_finite
from thinwire.results.arm_record import CodecMetric
from thinwire.results.tensor_file import Layout, TensorType
from thinwire.schema import Auto, ByDevice, PositiveInt, Rate, Section, Weight

_BLOCK_ROWS = 8192
_LEAST_USE = 0.5
"""A codebook with a smaller share of its entries in use has collapsed."""


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


@dataclass(frozen=True, kw_only=True)
class VQCodec(Codec):
    """A linear encoder to L latent numbers, M codebooks, and a linear decoder from the selected entries.

    The decoder's input is the sum (residual) or the concatenation (product) of the entries.
    """

    Settings: ClassVar[type[Section] | None] = VQConfig
    fields: ClassVar[tuple[str, ...]] = (
        *("encoder_weight", "encoder_bias", "decoder_weight", "decoder_bias"),
        *("codebooks", "std", "use", "perplexity", "collisions"),
    )

    encoder_weight: Tensor
    """``[L, D]``, float32."""
    encoder_bias: Tensor
    """``[L]``, float32."""
    decoder_weight: Tensor
    """``[D, L]``, float32."""
    decoder_bias: Tensor
    """``[D]``, float32."""
    codebooks: Tensor
    """``[M, size, L]``, float32, whose selected entries are summed; or ``[M, size, L / M]``, whose entries are
    concatenated."""
    std: Tensor
    """``[L]``, float32: root mean square of each feature over the tokens seen."""
    use: Tensor
    """``[M]``, float64: share of each codebook's entries that the tokens seen select."""
    perplexity: Tensor
    """``[M]``, float64: perplexity of each codebook's entries, weighted by the corpus."""
    collisions: Tensor
    """``[2]``, float64: ids seen that share their code with another, as a share of the ids and of the tokens."""

    @classmethod
    def check_fits(cls, config: CodecConfig, embedding_width: int, num_rows: int) -> None:
        """Refuse codebooks that do not fit; see ``Codec.check_fits``.

        Raises:
            UsageError: vector-quantize-pytorch is missing, the latent numbers cannot be cut into equal parts, or there
                would be more entries than rows.
        """
        _check(config.own(VQConfig), config.code_width(embedding_width), num_rows)

    @classmethod
    def fit(cls, matrix: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """Train on the rows of ``matrix``, then compute usage statistics over the tokens seen; see ``Codec.fit``."""
        unknown = torch.empty(0, device=matrix.device)
        parts = _train(matrix, counts, config, seed)
        codec = cls(**parts, std=unknown, use=unknown, perplexity=unknown, collisions=unknown)
        counts = counts.to(matrix.device, torch.float64)
        seen = counts.nonzero()[:, 0]
        codes, weights, size = codec.encode(matrix[seen]), counts[seen], codec.codebooks.shape[1]
        std = ((weights / weights.sum()) @ codec.features(codes).double().square()).sqrt()
        return replace(
            codec,
            # A feature that hardly varies among the tokens seen must not dominate the others where it does vary.
            std=std.clamp_min(1e-3 * float(std.max())).float(),
            use=entry_use(codes, size),
            perplexity=perplexity(codes, weights, size),
            collisions=collisions(codes, weights),
        )

    @classmethod
    def layout(cls, config: CodecConfig, embedding_width: int) -> Layout:
        vq, width = config.own(VQConfig), config.code_width(embedding_width)
        num = vq.resolved_codebooks
        entry = width if vq.form == "residual" else width // num
        return {
            "encoder_weight": TensorType("F32", (width, embedding_width)),
            "encoder_bias": TensorType("F32", (width,)),
            "decoder_weight": TensorType("F32", (embedding_width, width)),
            "decoder_bias": TensorType("F32", (embedding_width,)),
            "codebooks": TensorType("F32", (num, vq.codebook_size, entry)),
            "std": TensorType("F32", (width,)),
            "use": TensorType("F64", (num,)),
            "perplexity": TensorType("F64", (num,)),
            "collisions": TensorType("F64", (2,)),
        }

    @property
    def code_width(self) -> int:
        return len(self.codebooks)

    @property
    def code_bits(self) -> int:
        return self.code_width * ceil(log2(self.codebooks.shape[1]))

    @property
    def _is_product(self) -> bool:
        return self.codebooks.shape[2] < len(self.encoder_bias)

    def encode(self, embeddings: Tensor) -> Tensor:
        """Encode ``[N, D]`` embeddings as ``[N, M]`` indices of the nearest entries, in the smallest sufficient integer
        type."""
        size = self.codebooks.shape[1]
        dtype = torch.uint8 if size <= 2**8 else torch.int16 if size <= 2**15 else torch.int32
        return torch.cat([self._nearest(block).to(dtype) for block in embeddings.split(_BLOCK_ROWS)])

    def _nearest(self, embeddings: Tensor) -> Tensor:
        latents = embeddings.float() @ self.encoder_weight.T + self.encoder_bias
        width, codes = self.codebooks.shape[2], []
        for number, codebook in enumerate(self.codebooks):
            part = latents[:, number * width : (number + 1) * width] if self._is_product else latents
            # |x - e|^2 is smallest where x.e - |e|^2 / 2 is largest.
            codes.append((part @ codebook.T - codebook.square().sum(1) / 2).argmax(1))
            if not self._is_product:
                latents = latents - codebook[codes[-1]]
        return torch.stack(codes, 1)

    def features(self, codes: Tensor) -> Tensor:
        """Map ``[N, M]`` indices to ``[N, L]``: the sum of their entries, or their concatenation."""
        entries = self.codebooks[torch.arange(self.code_width, device=codes.device), codes.long()]
        return entries.flatten(1) if self._is_product else entries.sum(1)

    def feature_tensors(self) -> tuple[Tensor, ...]:
        return (self.codebooks,)

    def linear_decoder(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.decoder_weight, self.decoder_bias, self.std

    @classmethod
    def label(cls, config: CodecConfig) -> str:
        return f"vq, {config.own(VQConfig).form}"

    def metrics(self) -> tuple[CodecMetric, ...]:
        """Return use and perplexity of the entries (mean and worst codebook) and the collision shares."""
        by_id, by_token = self.collisions.tolist()

        def share(name: str, label: str, value: float) -> CodecMetric:
            return CodecMetric(name=name, label=label, value=value)

        def entries(name: str, label: str, value: float) -> CodecMetric:
            return CodecMetric(name=name, label=label, value=value, unit="entries")

        return (
            share("codebook_use", "entries in use", float(self.use.mean())),
            share("codebook_use_worst", "in the worst codebook", float(self.use.min())),
            entries("perplexity", "perplexity", float(self.perplexity.mean())),
            entries("perplexity_worst", "of the worst", float(self.perplexity.min())),
            entries("perplexity_maximum", "at most", float(self.codebooks.shape[1])),
            share("collisions", "ids that collide", by_id),
            share("collisions_weighted", "tokens that collide", by_token),
        )

    def warnings(self) -> tuple[str, ...]:
        """Return a warning if any codebook has less than half of its entries in use."""
        idle = (self.use < _LEAST_USE).nonzero()[:, 0].tolist()
        if not idle:
            return ()
        least = min(idle, key=lambda number: float(self.use[number]))
        return (
            f"{len(idle)} of {self.code_width} codebooks have less than {_LEAST_USE:.0%} of their entries in use "
            f"(codebook {least + 1}: {float(self.use[least]):.0%} of {self.codebooks.shape[1]}); lower "
            "codec.vq.codebook_size, or raise codec.vq.steps or codec.vq.dead_below",
        )


def _train(matrix: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> dict[str, Tensor]:
    """Train encoder, codebooks and decoder on rows of ``matrix`` ``[V, D]``, drawn by ``counts`` (``[V]``) and
    weighting.

    Returns:
        ``encoder_weight`` ``[L, D]``, ``encoder_bias`` ``[L]``, ``decoder_weight`` ``[D, L]``, ``decoder_bias`` ``[D]``
        and ``codebooks`` ``[M, size, L or L / M]``, float32.

    Raises:
        UsageError: the library is missing, or the settings do not fit the matrix.
    """
    vq, device = config.own(VQConfig), matrix.device
    _check(vq, config.code_width(matrix.shape[1]), len(matrix))
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
