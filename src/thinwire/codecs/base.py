"""The base class of all codecs."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import Self

from thinwire.codecs.residual_mlp import floored, mlp
from thinwire.codecs.settings import CodecConfig
from thinwire.errors import UsageError
from thinwire.results.arm_record import CodecMetric
from thinwire.results.tensor_file import Layout, read_tensors, write_tensors
from thinwire.schema import Section


class Codec(ABC):
    """A fitted compression: embeddings ``[N, D]`` to codes ``[N, K]``, to features ``[N, F]``, to embeddings again.

    Codes are what would be stored or sent, floats or integers. Features are the floats that a decoder gets for them;
    for float codes, they are the codes themselves. A subclass defines how to fit, encode and decode. Its whole state is
    the tensors named in ``fields``, so saving and loading are implemented here.
    """

    Settings: ClassVar[type[Section] | None] = None
    """Class of the codec's own settings, ``codec.<kind>`` in an experiment; None if it has none."""

    fields: ClassVar[tuple[str, ...]]
    """Names of the attributes that hold the fitted state, all tensors."""

    @classmethod
    @abstractmethod
    def fit(cls, matrix: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """Fit to the rows of ``matrix`` ``[V, D]``.

        Args:
            counts: ``[V]``, occurrences of each row in the corpus.
            seed: the only source of randomness.
        """

    @classmethod
    @abstractmethod
    def layout(cls, config: CodecConfig, embedding_width: int) -> Layout:
        """Return the type and shape of each tensor of a fit with these settings to embeddings of this width."""

    @classmethod
    def check_fits(cls, config: CodecConfig, embedding_width: int, num_rows: int) -> None:
        """Refuse settings that cannot be fitted to a matrix of ``num_rows`` rows, before anything is.

        Raises:
            UsageError: a code would be wider than an embedding, or as a subclass says.
        """
        config.code_width(embedding_width)

    @property
    @abstractmethod
    def code_width(self) -> int:
        """Numbers per code, K."""

    @property
    def code_bits(self) -> int | None:
        """Bits per code, packed; None for floats, whose type the input embeddings decide."""
        return None

    def encode(self, embeddings: Tensor) -> Tensor:
        """Encode ``[N, D]`` embeddings as ``[N, K]`` codes, float32 or integers.

        Raises:
            UsageError: they have another shape, which might be spread silently to the one that was fitted.
        """
        width = len(self.linear_decoder()[1])
        if embeddings.ndim != 2 or embeddings.shape[1] != width:
            raise UsageError(
                f"embeddings have the shape {list(embeddings.shape)}, expected [N, {width}]: the codec was fitted to "
                f"rows of {width} numbers"
            )
        return self._encode(embeddings)

    @abstractmethod
    def _encode(self, embeddings: Tensor) -> Tensor:
        """Encode ``[N, D]`` embeddings, whose shape was checked."""

    def features(self, codes: Tensor) -> Tensor:
        """Map ``[N, K]`` codes to ``[N, F]`` features, float32: the input of an adapter."""
        return codes

    def feature_tensors(self) -> tuple[Tensor, ...]:
        """Return the fitted tensors that ``features`` uses."""
        return ()

    @abstractmethod
    def linear_decoder(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the linear decoder as (weight ``[D, F]``, bias ``[D]``, std of each feature ``[F]``); an adapter
        starts there."""

    def residual_decoder(self) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """Return the residual MLP that the codec's own decoder adds to the linear one; None if it has none.

        Its input is the features in units of their std (``residual_mlp.mlp``).

        Returns:
            Hidden weight ``[H, F]``, its bias ``[H]``, output weight ``[D, H]``, bias ``[D]``.
        """
        return None

    def decode(self, codes: Tensor) -> Tensor:
        """Decode ``[N, K]`` codes to ``[N, D]`` embeddings, float32, with the codec's own decoder and without an
        adapter."""
        features, (weight, bias, std) = self.features(codes), self.linear_decoder()
        decoded, more = features @ weight.T + bias, self.residual_decoder()
        return decoded if more is None else decoded + mlp(features / floored(std.float()), *more)

    @abstractmethod
    def metrics(self) -> tuple[CodecMetric, ...]:
        """Return the metrics of the fit that reports show, in the order of their columns."""

    def warnings(self) -> tuple[str, ...]:
        """Return serious problems of the fit, one sentence each; every report shows them."""
        return ()

    @classmethod
    def label(cls, config: CodecConfig) -> str:
        """Return the codec's name in a table."""
        return config.kind

    def cache_key(self) -> str | None:
        """Return what distinguishes this fit from another with the same settings and data, for keys of derived
        artifacts.

        None where two such fits differ only by rounding, which changes derived artifacts as little.
        """
        return self.fingerprint()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the fitted state."""
        digest = hashlib.sha256()
        for name, tensor in self.state().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def num_bytes(self, *, with_decoder: bool) -> int:
        """Count the bytes that decoding needs; tensors that only encoding needs do not count.

        Args:
            with_decoder: count the decoder too; false where an adapter replaces it, and only what turns codes into
                features, with their std, counts.
        """
        weight, bias, std = self.linear_decoder()
        decoder = (weight, bias, *(self.residual_decoder() or ())) if with_decoder else ()
        return sum(tensor.numel() * tensor.element_size() for tensor in (std, *self.feature_tensors(), *decoder))

    def state(self) -> dict[str, Tensor]:
        """Return the fitted tensors by name."""
        return {name: getattr(self, name) for name in self.fields}

    def to(self, device: torch.device) -> Self:
        """Return the same codec on ``device``."""
        return type(self)(**{name: tensor.to(device) for name, tensor in self.state().items()})

    def save(self, path: Path) -> None:
        """Write the fitted tensors to a safetensors file, atomically."""
        write_tensors(path, self.state())

    @classmethod
    def load(cls, path: Path, config: CodecConfig, embedding_width: int) -> Self:
        """Read what ``save`` wrote, of a fit with these settings to embeddings of this width.

        Raises:
            ThinwireError: the file is missing, damaged, or holds another codec.
        """
        return cls(**read_tensors(path, cls.layout(config, embedding_width), within=path.parent))
