"""Cache of what arms start from, pretrained adapters or encoders, shared by all arms and sweeps with the same start."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from thinwire.cache import cache_dir, make_alone
from thinwire.errors import ThinwireError
from thinwire.files import remove_file
from thinwire.results.record import Record, read_record, write_record
from thinwire.results.tensor_file import layout_of, read_tensors, write_tensors

logger = logging.getLogger(__name__)

Entry = TypeVar("Entry")
Measures = TypeVar("Measures", bound=Record)


@dataclass(frozen=True)
class StartingPoint:
    """What arms start from. ``key`` is the hash of everything that determines its weights."""

    key: str

    @property
    def folder(self) -> Path:
        """A folder beside the weights for what ``train`` keeps until they are made; it is there while it runs."""
        return self._path("")

    def weights(self, like: Mapping[str, Tensor], train: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return the weights by name, on the CPU: from the cache, or those that ``train`` returns. A damaged entry of
        the cache is made again, with a warning.

        Args:
            like: tensors of the names, types and shapes that the weights have.

        Raises:
            ClaimLostError: another process has begun to make them meanwhile.
        """
        path = self._path(".safetensors")
        read = partial(read_tensors, path, layout_of(dict(like)), needs_hash=True)
        if (weights := _from_cache(path, read)) is not None:
            logger.info("starting weights: cached")
            self._tidy()
            return weights

        def make() -> dict[str, Tensor]:
            if (weights := _from_cache(path, read)) is not None:  # another process has made it meanwhile
                return weights
            trained = train()
            _make_way(path)
            write_tensors(path, dict(trained))
            self._tidy()
            return read()

        return make_alone(self.folder, make, again=False)  # a training that was cut short has changed its weights

    def measures(self, kind: type[Measures], what: str, measure: Callable[[], Measures]) -> Measures:
        """Return what was measured of the weights, a record of this ``kind``: from the cache, or from ``measure``. A
        damaged entry of the cache is made again, with a warning.

        Args:
            what: the name of the record in messages.
        """
        path = self._path(".json")
        read = partial(read_record, kind, path, what, path.parent, needs_hash=lambda _: True)
        if (measured := _from_cache(path, read)) is not None:
            return measured

        def make() -> Measures:
            if (measured := _from_cache(path, read)) is not None:
                return measured
            measured = measure()
            _make_way(path)
            write_record(path, measured)
            return measured

        return make_alone(path.with_suffix(""), make)

    def _tidy(self) -> None:
        """Remove what was kept until the weights were made, also by a process that was killed just then."""
        if self.folder.is_dir():
            for file in self.folder.iterdir():
                remove_file(file)

    def _path(self, suffix: str) -> Path:
        return cache_dir() / "adapters" / f"{self.key}{suffix}"


def _from_cache(path: Path, read: Callable[[], Entry]) -> Entry | None:
    """Return what ``read`` reads from an entry of the cache; None if there is none, or with a warning a damaged one."""
    if not os.path.lexists(path):
        return None
    try:
        return read()
    except ThinwireError as error:
        logger.warning("%s; the cache makes it again", str(error).partition(";")[0])
        return None


def _make_way(path: Path) -> None:
    """Remove what is in the place of an entry of the cache, unless it is an ordinary file, which is replaced."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or not path.is_file():
        remove_file(path)
