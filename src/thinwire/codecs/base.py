"""What every compression of the embedding table offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typing_extensions import Self

from thinwire.records import replacing


class Codec(ABC):
    """A fitted compression: embeddings ``[N, D]`` to codes ``[N, K]`` and back, one token at a time.

    A subclass states one idea: how to fit, encode and decode. Its whole state is the tensors it names in ``fields``,
    so saving and loading are written once, here.
    """

    fields: ClassVar[tuple[str, ...]]
    """Names of the attributes that make up the fitted state, all tensors."""

    @classmethod
    @abstractmethod
    def fit(cls, table: Tensor, counts: Tensor, code_width: int) -> Self:
        """Fit to the rows of ``table`` ``[V, D]``, row ``i`` weighing ``counts[i]`` (``[V]``, tokens seen)."""

    @abstractmethod
    def encode(self, embeddings: Tensor) -> Tensor:
        """``[N, D]`` embeddings to ``[N, K]`` codes, float32."""

    @abstractmethod
    def decode(self, codes: Tensor) -> Tensor:
        """``[N, K]`` codes to ``[N, D]`` embeddings, float32: the codec's own reconstruction, nothing trained."""

    @abstractmethod
    def linear_decoder(self) -> tuple[Tensor, Tensor, Tensor]:
        """The decoder as (weight ``[D, K]``, bias ``[D]``, spread of each code dimension ``[K]``): where an adapter
        starts."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """What a report says of the fit, by name."""

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
