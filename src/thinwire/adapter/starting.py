"""Cache of pretrained adapters and their metrics, shared by all arms and sweeps with the same start."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from thinwire.adapter.input_embeddings import AdapterEmbeddings
from thinwire.cache import cache_dir, locked
from thinwire.errors import ThinwireError
from thinwire.results.arm_record import Reconstruction
from thinwire.results.record import read_record, write_record
from thinwire.results.tensor_file import layout_of, read_tensors, write_tensors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartingAdapter:
    """The adapter that arms start from. ``key`` is the hash of everything that determines its weights."""

    key: str

    def weights(self, inputs: AdapterEmbeddings, train: Callable[[AdapterEmbeddings], None]) -> dict[str, Tensor]:
        """Return the weights by name, on the CPU: from the cache, or of ``inputs`` after ``train`` has trained it in
        place. A damaged entry of the cache is made again, with a warning."""
        path, layout = self._path(".safetensors"), layout_of(dict(inputs.adapter.named_parameters()))
        with locked(path.with_suffix("")):
            if os.path.lexists(path):
                try:
                    weights = read_tensors(path, layout, needs_hash=True)
                except ThinwireError as error:
                    _make_again(path, error)
                else:
                    logger.info("starting adapter: cached")
                    return weights
            train(inputs)
            write_tensors(path, dict(inputs.adapter.named_parameters()))
            return read_tensors(path, layout)

    def reconstruction(self, measure: Callable[[], Reconstruction]) -> Reconstruction:
        """Return the adapter's reconstruction metrics: from the cache, or from ``measure``. A damaged entry of the
        cache is made again, with a warning."""
        path = self._path(".json")
        with locked(path.with_suffix("")):
            if os.path.lexists(path):
                try:
                    return read_record(Reconstruction, path, "reconstruction", path.parent, needs_hash=lambda _: True)
                except ThinwireError as error:
                    _make_again(path, error)
            measured = measure()
            write_record(path, measured)
            return measured

    def _path(self, suffix: str) -> Path:
        return cache_dir() / "adapters" / f"{self.key}{suffix}"


def _make_again(path: Path, error: ThinwireError) -> None:
    """Remove a damaged entry of the cache, and warn."""
    logger.warning("%s; the cache makes it again", str(error).partition(";")[0])
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
