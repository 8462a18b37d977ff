"""Vector quantisation: the code of a token is a few integers, indices into learned codebooks.

van den Oord et al. 2017 (arXiv:1711.00937) for one codebook; Zeghidour et al. 2021 (arXiv:2107.03312) for residual
codebooks; Jegou et al. 2011 (doi:10.1109/TPAMI.2010.57) for product codes.

``vq_training`` fits it with a library; a fitted codec is plain tensors and does not need that library.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log2
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from thinwire.codecs.base import Codec
from thinwire.codecs.codebook_usage import collisions, entry_use, perplexity
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.vq_training import VQConfig, check_settings, train
from thinwire.results.arm_record import CodecMetric
from thinwire.results.tensor_file import Layout, TensorType
from thinwire.schema import Section

_BLOCK_ROWS = 8192
_LEAST_USE = 0.5
"""A codebook with a smaller share of its entries in use has collapsed."""


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
        check_settings(config.own(VQConfig), config.code_width(embedding_width), num_rows)

    @classmethod
    def fit(cls, matrix: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """Train on the rows of ``matrix``, then compute usage statistics over the tokens seen; see ``Codec.fit``."""
        unknown = torch.empty(0, device=matrix.device)
        parts = train(matrix, counts, config, seed)
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

    def _encode(self, embeddings: Tensor) -> Tensor:
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
