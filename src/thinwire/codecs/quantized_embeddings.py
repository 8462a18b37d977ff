"""The embedding matrix itself with rounded entries: block-wise quantisation by the largest absolute value (absmax).

A row is cut into blocks. Each block stores its largest absolute value ``a`` in float16, and for each of its numbers the
index of the nearest of the format's levels ``l_1 < ... < l_n``, which lie between -1 and 1:

    k = argmin_j |x / a - l_j|        x ~ a l_k

Levels of ``int8`` to ``int2`` are equally far apart. Those of ``nf4`` are quantiles of the normal distribution
(Dettmers et al. 2023, arXiv:2305.14314), so that normally distributed numbers use all of them about equally often.
There is no projection: a code has as many numbers as an embedding. Checkpoints are commonly stored like this, so it is
the alternative to fewer numbers at equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import Self

from thinwire.codecs.base import Codec
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.token_weights import row_weights
from thinwire.errors import UsageError
from thinwire.results.arm_record import CodecMetric
from thinwire.results.tensor_file import Layout, TensorType
from thinwire.schema import PositiveInt, Section

Format = Literal["int8", "nf4", "int4", "int3", "int2"]

_BLOCK_ROWS = 8192
_SCALE_DTYPE = torch.float16
_MOST_LOST = 0.5
"""A format that loses a larger share of the variance has made most of the matrix noise."""


class QuantizedEmbeddingsConfig(Section):
    """The embedding matrix with rounded entries (``codec.kind=quantized_embeddings``); ``codec.ratio`` and
    ``codec.compress_dim`` have no effect."""

    format: Format = "int8"
    """Levels that numbers are rounded to: ``int8``, ``int4``, ``int3`` and ``int2`` are 255, 15, 7 and 3 equally spaced
    ones, ``nf4`` is 16 quantiles of the normal distribution."""
    block_size: PositiveInt = 64
    """Neighbouring numbers of a row that share one scale, a float16. Blocks end with their row, so the embedding width
    or more is one scale for each row."""


@dataclass(frozen=True, kw_only=True)
class QuantizedEmbeddingsCodec(Codec):
    """Codes are the indices of a row's levels, followed by the bytes of its scales."""

    Settings: ClassVar[type[Section] | None] = QuantizedEmbeddingsConfig
    fields: ClassVar[tuple[str, ...]] = ("levels", "blocks", "std", "rounding_error")

    levels: Tensor
    """``[n]``, float32, ascending from -1 to 1."""
    blocks: Tensor
    """``[D]``, int64: the block of each number, from 0."""
    std: Tensor
    """``[D]``, float32: root mean square of each rounded number over the rows seen, weighted."""
    rounding_error: Tensor
    """``[]``, float64: share of the weighted variance of the rows seen that rounding loses."""

    @classmethod
    def check_fits(cls, config: CodecConfig, embedding_width: int, num_rows: int) -> None:
        """Refuse nothing: codes are as wide as embeddings, whatever the ratio."""

    @classmethod
    def fit(cls, matrix: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """Measure the error of rounding and the scale of each number; see ``Codec.fit``. Codes depend on neither, and
        nothing is random.

        Raises:
            UsageError: a number of ``matrix`` is too large for a float16 scale.
        """
        settings, device = config.own(QuantizedEmbeddingsConfig), matrix.device
        largest, limit = float(matrix.abs().max()), torch.finfo(_SCALE_DTYPE).max
        if not largest <= limit:
            raise UsageError(
                f"codec.kind=quantized_embeddings stores scales up to {limit:,.0f}, but the embedding matrix has an "
                f"entry of {largest:g}; choose another codec.kind"
            )
        unmeasured = cls(
            levels=levels_of(settings.format).to(device),
            blocks=torch.arange(matrix.shape[1], device=device) // settings.block_size,
            std=torch.ones(matrix.shape[1], device=device),
            rounding_error=torch.empty(0, device=device),
        )
        weights = row_weights(counts.to(device), config.weighting)
        rows = weights.nonzero()[:, 0]
        shares = weights[rows] / weights.sum()
        blocks = list(zip(rows.split(_BLOCK_ROWS), shares.split(_BLOCK_ROWS), strict=True))
        mean, lost, total, square = (torch.zeros(matrix.shape[1], dtype=torch.float64, device=device) for _ in range(4))
        for ids, share in blocks:
            mean += share @ matrix[ids].double()
        for ids, share in blocks:
            exact = matrix[ids].double()
            rounded = unmeasured.decode(unmeasured.encode(matrix[ids])).double()
            lost += share @ (rounded - exact).square()
            total += share @ (exact - mean).square()
            square += share @ rounded.square()
        std = square.sqrt()
        return cls(
            levels=unmeasured.levels,
            blocks=unmeasured.blocks,
            # A number that hardly varies among the rows seen must not dominate the others where it does vary.
            std=std.clamp_min(1e-3 * float(std.max())).float(),
            rounding_error=lost.sum() / total.sum(),
        )

    @classmethod
    def layout(cls, config: CodecConfig, embedding_width: int) -> Layout:
        return {
            "levels": TensorType("F32", tuple(levels_of(config.own(QuantizedEmbeddingsConfig).format).shape)),
            "blocks": TensorType("I64", (embedding_width,)),
            "std": TensorType("F32", (embedding_width,)),
            "rounding_error": TensorType("F64", ()),
        }

    @property
    def code_width(self) -> int:
        return len(self.std)

    @property
    def code_bits(self) -> int:
        """Bits per code: the packed indices, and 16 for each scale."""
        return self.code_width * ceil(log2(len(self.levels))) + self._num_scales * 8 * _SCALE_DTYPE.itemsize

    @property
    def _num_scales(self) -> int:
        return int(self.blocks[-1]) + 1

    def _encode(self, embeddings: Tensor) -> Tensor:
        """Encode ``[N, D]`` embeddings as ``[N, D + 2 S]`` bytes, uint8: D indices, one a byte, and S float16
        scales."""
        return torch.cat([self._encode_block(block.float()) for block in embeddings.split(_BLOCK_ROWS)])

    def _encode_block(self, embeddings: Tensor) -> Tensor:
        size, width = int((self.blocks == 0).sum()), self.code_width
        padded = torch.nn.functional.pad(embeddings, (0, self._num_scales * size - width))
        blocks = padded.view(len(embeddings), self._num_scales, size)
        scales = blocks.abs().amax(2).to(_SCALE_DTYPE)
        # A scale below the smallest float16 is 0, and its block then decodes to zeros, whatever the indices are.
        relative = blocks / scales.float().clamp_min(1e-30)[:, :, None]
        between = (self.levels[1:] + self.levels[:-1]) / 2
        indices = torch.bucketize(relative, between).to(torch.uint8).flatten(1)[:, :width]
        return torch.cat([indices, scales.view(torch.uint8)], 1)

    def features(self, codes: Tensor) -> Tensor:
        """Map ``[N, D + 2 S]`` codes to the rounded embeddings, ``[N, D]`` float32."""
        indices, scales = codes[:, : self.code_width], codes[:, self.code_width :]
        scales = scales.clone(memory_format=torch.contiguous_format).view(_SCALE_DTYPE)  # a copy, as an odd D misaligns
        embeddings: Tensor = self.levels[indices.long()] * scales.float()[:, self.blocks]
        return embeddings

    def feature_tensors(self) -> tuple[Tensor, ...]:
        return (self.levels,)

    def linear_decoder(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the identity: features are embeddings already."""
        width, device = self.code_width, self.std.device
        return torch.eye(width, device=device), torch.zeros(width, device=device), self.std

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes to the rounded embeddings, ``[N, D]`` float32."""
        return self.features(codes)

    def num_bytes(self, *, with_decoder: bool) -> int:
        """Count the bytes that decoding needs beside the codes: the levels, and the stds for an adapter."""
        needed = (self.levels,) if with_decoder else (self.levels, self.std)
        return sum(tensor.numel() * tensor.element_size() for tensor in needed)

    @classmethod
    def label(cls, config: CodecConfig) -> str:
        return f"quantised embeddings, {config.own(QuantizedEmbeddingsConfig).format}"

    def metrics(self) -> tuple[CodecMetric, ...]:
        """Return the error of rounding as a share of the total variance."""
        return (CodecMetric(name="rounding_error", label="lost in rounding", value=float(self.rounding_error)),)

    def warnings(self) -> tuple[str, ...]:
        """Return a warning if rounding loses more than half of the variance."""
        lost = float(self.rounding_error)
        if lost <= _MOST_LOST:
            return ()
        return (
            f"rounding to {len(self.levels)} levels loses {lost:.0%} of the variance; choose a "
            "codec.quantized_embeddings.format of more bits, or a smaller block_size",
        )

    def cache_key(self) -> str | None:
        return None


def levels_of(form: Format) -> Tensor:
    """Return the levels of a format, ascending from -1 to 1: ``[n]`` float32.

    ``int8`` to ``int2`` have ``2^bits - 1``, symmetric about zero. ``nf4`` has 16: zero, and beside it 7 negative and 8
    positive quantiles of the standard normal distribution, over the largest of them (Dettmers et al. 2023, appendix E).
    """
    if form == "nf4":
        # The outermost quantile is the mean of 1 - 1 / 30 and 1 - 1 / 32: as far inside as half a step of either side.
        outermost = 1 - (1 / 30 + 1 / 32) / 2
        positive, negative = (
            torch.special.ndtri(torch.linspace(outermost, 0.5, steps, dtype=torch.float64))[:-1] for steps in (9, 8)
        )
        levels: Tensor = torch.cat([-negative, torch.zeros(1, dtype=torch.float64), positive.flip(0)]) / positive[0]
        return levels.float()
    num_bits = int(form.removeprefix("int"))
    largest = (1 << num_bits - 1) - 1
    return torch.arange(-largest, largest + 1) / largest
