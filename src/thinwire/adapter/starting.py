"""Cache of pretrained adapters and their metrics, shared by all arms and sweeps with the same start."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from thinwire.adapter.input_embeddings import AdapterEmbeddings
from thinwire.cache import cache_dir, locked
from thinwire.files import read_json, write_json
from thinwire.results.arm_record import Reconstruction
from thinwire.tensor_files import save_tensors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartingAdapter:
    """The adapter that arms start from. ``key`` is the hash of everything that determines its weights."""

    key: str

    def weights(self, inputs: AdapterEmbeddings, train: Callable[[AdapterEmbeddings], None]) -> dict[str, Tensor]:
        """Return the weights by name, on the CPU: from the cache, or of ``inputs`` after ``train`` has trained it in
        place."""
        path = self._path(".safetensors")
        if path.exists():  # without the lock, so that a cache need not be writable to be read
            logger.info("starting adapter: cached")
        else:
            with locked(path.with_suffix("")):
                if not path.exists():
                    train(inputs)
                    save_tensors(path, dict(inputs.adapter.named_parameters()))
        weights: dict[str, Tensor] = load_file(path)
        return weights

    def reconstruction(self, measure: Callable[[], Reconstruction]) -> Reconstruction:
        """Return the adapter's reconstruction metrics: from the cache, or from ``measure``."""
        path = self._path(".json")
        if not path.exists():
            with locked(path.with_suffix("")):
                if not path.exists():
                    write_json(path, measure().model_dump(mode="json"))
        return Reconstruction.model_validate(read_json(path))

    def _path(self, suffix: str) -> Path:
        return cache_dir() / "adapters" / f"{self.key}{suffix}"
