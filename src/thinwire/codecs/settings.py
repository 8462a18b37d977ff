"""Settings shared by all codecs; each codec's own settings are defined in its module.

This module does not import torch, so that settings can be loaded without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from thinwire.errors import UsageError
from thinwire.schema import Auto, ByDevice, Fraction, PositiveInt, Rate, Section, Tokens, Weight, Width

Weighting = Literal["counts", "sqrt", "uniform"]

Own = TypeVar("Own", bound=Section)


class CodecConfig(Section):
    """The compression of the embedding matrix."""

    renamed: ClassVar[Mapping[str, str]] = {"bits": "codec.quantized_pca.bits, with codec.kind=quantized_pca"}

    kind: str = "pca"
    """One of ``thinwire.codecs.table.CODECS``."""
    ratio: Annotated[float, Field(ge=1)] = 4.0
    """Embedding width over code width; for ``vq``, over the width of the latent vectors that are quantised. Without
    effect for ``quantized_embeddings``, whose codes are as wide as embeddings."""
    compress_dim: Width | None = None
    """The code width (for ``vq``, the latent width) itself; overrides ``ratio``."""
    weighting: Weighting = "counts"
    """Weight of a row of the matrix in PCA, and its share of the rows drawn to train other codecs: its occurrences in
    the training prompts, their square root, or 1."""

    def own(self, settings: type[Own]) -> Own:
        """Return the settings of the chosen kind, an instance of ``settings``."""
        own = getattr(self, self.kind, None)
        assert isinstance(own, settings), f"codec.{self.kind} holds no {settings.__name__}"
        return own

    def effective(self) -> dict[str, Any]:
        """Return the settings that affect the chosen kind, as JSON."""
        others = {name for name in type(self).model_fields if isinstance(getattr(self, name), Section)} - {self.kind}
        return self.model_dump(mode="json", exclude=others)

    def code_width(self, embedding_width: int) -> int:
        """Return the number of PCA axes kept of ``embedding_width``: the width of codes or, for ``vq``, of latent
        vectors.

        Raises:
            UsageError: it would exceed ``embedding_width``.
        """
        width = self.compress_dim or max(1, round(embedding_width / self.ratio))
        if width > embedding_width:
            raise UsageError(
                f"codec.compress_dim is {width}, but a code has at most as many numbers as an embedding, "
                f"{embedding_width}; choose 1 to {embedding_width}, or null to leave it to codec.ratio"
            )
        return width


class RowTrainingConfig(Section):
    """Training on rows of the embedding matrix, with no language model in the loop."""

    steps: Annotated[PositiveInt | Auto | Literal[0], ByDevice(cuda=10_000, cpu=1_000)] = "auto"
    """Optimiser steps before any arm starts; ``auto`` is 10,000 on a GPU and 1,000 on a CPU; 0 leaves the linear
    decoder."""
    batch_rows: Tokens = 2048
    """Rows of the matrix per step (``rows``); ``sequence`` takes whole prompts, at least this many tokens."""
    learning_rate: Rate = 2e-3
    """Peak learning rate of AdamW; linear warm-up over 50 steps, then cosine decay to zero."""
    weighting: Weighting = "counts"
    """Weight by which rows are drawn before an arm (``rows``): occurrences in the training prompts, their square root,
    or 1. During an arm, rows are weighted by their occurrences."""
    uniform_share: Fraction = 0.1
    """Share of the drawn rows that is drawn uniformly, so that tokens absent from the training prompts are learned too.
    """
    cosine_weight: Weight = 1.0
    """Weight of 1 - cosine, before and during an arm."""
    mse_weight: Weight = 0.1
    """Weight of the squared error relative to the matrix's mean square, before and during an arm."""
