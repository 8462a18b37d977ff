"""What every compression of the embedding table offers."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typing_extensions import Self

from thinwire.config import CodecConfig
from thinwire.records import replacing
from thinwire.residual import mlp


class Codec(ABC):
    """A fitted compression: embeddings ``[N, D]`` to codes ``[N, K]``, to features ``[N, F]``, to embeddings again.

    A code is what would be stored or sent, floats or integers. Features are the floats that it stands for, which a
    decoder reads: the code itself where it is floats already. A subclass states one idea: how to fit, encode and
    decode. Its whole state is the tensors it names in ``fields``, so saving and loading are written once, here.
    """

    fields: ClassVar[tuple[str, ...]]
    """Names of the attributes that make up the fitted state, all tensors."""

    @classmethod
    @abstractmethod
    def fit(cls, table: Tensor, counts: Tensor, config: CodecConfig, seed: int) -> Self:
        """Fit to the rows of ``table`` ``[V, D]``, row ``i`` of which the corpus holds ``counts[i]`` times (``[V]``).

        Anything random comes from ``seed`` alone.
        """

    @property
    @abstractmethod
    def code_width(self) -> int:
        """Numbers in the code of a token, K."""

    @property
    def code_bits(self) -> int | None:
        """Bits that the code of a token takes, packed; None for floats, whose type is the reader's choice."""
        return None

    @abstractmethod
    def encode(self, embeddings: Tensor) -> Tensor:
        """``[N, D]`` embeddings to ``[N, K]`` codes, float32 or integers."""

    def features(self, codes: Tensor) -> Tensor:
        """``[N, K]`` codes to ``[N, F]`` features, float32: what an adapter reads."""
        return codes

    def feature_tensors(self) -> tuple[Tensor, ...]:
        """The fitted tensors that ``features`` reads."""
        return ()

    @abstractmethod
    def linear_decoder(self) -> tuple[Tensor, Tensor, Tensor]:
        """The decoder as (weight ``[D, F]``, bias ``[D]``, spread of each feature ``[F]``): where an adapter starts."""

    def residual_decoder(self) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """What the codec's own decoder adds to the linear one, if it has more: ``residual.mlp`` of the features in
        units of their spread, as (hidden weight ``[H, F]``, its bias ``[H]``, output weight ``[D, H]``, bias ``[D]``).
        """
        return None

    def decode(self, codes: Tensor) -> Tensor:
        """``[N, K]`` codes to ``[N, D]`` embeddings, float32: the codec's own reconstruction, no adapter trained."""
        features, (weight, bias, spread) = self.features(codes), self.linear_decoder()
        decoded, more = features @ weight.T + bias, self.residual_decoder()
        return decoded if more is None else decoded + mlp(features / spread, *more)

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """What a report says of the fit, by name."""

    def alarms(self) -> list[str]:
        """What is so wrong with the fit that a reader of its results must be told, a sentence each."""
        return []

    def fingerprint(self) -> str:
        """SHA-256 of the fitted state."""
        digest = hashlib.sha256()
        for name, tensor in self.state().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def num_bytes(self, *, with_decoder: bool) -> int:
        """Bytes of what turns codes into features, their spread included, and (``with_decoder``) features into
        embeddings: an adapter takes the decoder's place. What encoding alone needs counts nowhere."""
        weight, bias, spread = self.linear_decoder()
        decoder = (weight, bias, *(self.residual_decoder() or ())) if with_decoder else ()
        return sum(tensor.numel() * tensor.element_size() for tensor in (spread, *self.feature_tensors(), *decoder))

    def state(self) -> dict[str, Tensor]:
        """The fitted tensors by name."""
        return {name: getattr(self, name) for name in self.fields}

    def to(self, device: torch.device) -> Self:
        """The same codec on ``device``."""
        return type(self)(**{name: tensor.to(device) for name, tensor in self.state().items()})

    def save(self, path: Path) -> None:
        """Write the fitted tensors to a safetensors file, atomically."""
        with replacing(path) as temporary:
            save_file({name: tensor.cpu().contiguous() for name, tensor in self.state().items()}, temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(**load_file(path))
