"""Vector quantisation: the code of a token is a few integers, indices into learned codebooks.

van den Oord et al. 2017 (arXiv:1711.00937) for one codebook; Zeghidour et al. 2021 (arXiv:2107.03312) for residual
codebooks; Jegou et al. 2011 (doi:10.1109/TPAMI.2010.57) for product codes. Training is in ``vq_training``; a fitted
codec is plain tensors, and needs nothing of the library that it was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log2
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from thinwire.codecs.base import Codec
from thinwire.codecs.usage import collisions, entry_use, perplexity
from thinwire.codecs.vq_training import train_quantizer
from thinwire.config import CodecConfig

_BLOCK_ROWS = 8192
_ALARM = 0.5
"""Share of a codebook's entries in use below which it has collapsed: at most half of it does anything."""


@dataclass(frozen=True, kw_only=True)
class VQCodec(Codec):
    """A linear encoder to L latent numbers, M codebooks, and a linear decoder from the sum or concatenation of the
    entries taken."""

    fields: ClassVar[tuple[str, ...]] = (
        *("encoder_weight", "encoder_bias", "decoder_weight", "decoder_bias"),
        *("codebooks", "spread", "use", "perplexity", "collisions"),
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
    """``[M, size, L]``, float32, whose entries add up; or ``[M, size, L / M]``, whose entries are laid end to end."""
    spread: Tensor
    """``[L]``, float32: root mean square of each feature over the tokens seen."""
    use: Tensor
    """``[M]``, float64: share of each codebook's entries that a token seen takes."""
    perplexity: Tensor
    """``[M]``, float64: of each codebook's entries, by how often the corpus takes them."""
    collisions: Tensor
    """``[2]``, float64: ids seen that share their code with another, as a share of the ids and of the tokens."""

    @classmethod
    def fit(cls, table: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """Train on the rows of ``table``, then count what the tokens seen take; see ``Codec.fit``."""
        unknown = torch.empty(0, device=table.device)
        parts = train_quantizer(table, counts, config, seed)
        codec = cls(**parts, spread=unknown, use=unknown, perplexity=unknown, collisions=unknown)
        counts = counts.to(table.device, torch.float64)
        seen = counts.nonzero()[:, 0]
        codes, weights, size = codec.encode(table[seen]), counts[seen], codec.codebooks.shape[1]
        spread = ((weights / weights.sum()) @ codec.features(codes).double().square()).sqrt()
        return replace(
            codec,
            # A feature that hardly varies among the tokens seen must not drown the others where it does vary.
            spread=spread.clamp_min(1e-3 * float(spread.max())).float(),
            use=entry_use(codes, size),
            perplexity=perplexity(codes, weights, size),
            collisions=collisions(codes, weights),
        )

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
        """``[N, D]`` embeddings to ``[N, M]`` indices of the nearest entries, in the smallest type that holds them."""
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
        """``[N, M]`` indices to ``[N, L]``: their entries' sum, or the entries laid end to end."""
        entries = self.codebooks[torch.arange(self.code_width, device=codes.device), codes.long()]
        return entries.flatten(1) if self._is_product else entries.sum(1)

    def feature_tensors(self) -> tuple[Tensor, ...]:
        return (self.codebooks,)

    def linear_decoder(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.decoder_weight, self.decoder_bias, self.spread

    def figures(self) -> dict[str, float]:
        """Use and perplexity of the entries, mean over the codebooks and the worst of them; ids that share a code."""
        by_id, by_token = self.collisions.tolist()
        return {
            "codebook_use": float(self.use.mean()),
            "codebook_use_worst": float(self.use.min()),
            "perplexity": float(self.perplexity.mean()),
            "perplexity_worst": float(self.perplexity.min()),
            "perplexity_maximum": float(self.codebooks.shape[1]),
            "collisions": by_id,
            "collisions_weighted": by_token,
        }

    def alarms(self) -> list[str]:
        """Codebooks of which less than half is in use."""
        idle = (self.use < _ALARM).nonzero()[:, 0].tolist()
        if not idle:
            return []
        least = min(idle, key=lambda number: float(self.use[number]))
        return [
            f"{len(idle)} of {self.code_width} codebooks have less than {_ALARM:.0%} of their entries in use (codebook "
            f"{least + 1}: {float(self.use[least]):.0%} of {self.codebooks.shape[1]}); lower codec.vq.codebook_size, "
            "or raise codec.vq.steps or codec.vq.dead_below"
        ]
