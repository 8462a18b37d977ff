"""The cache folder, and claims on its entries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thinwire.claims import waiting
from thinwire.files import make_folder, remove_partial_files


def cache_dir() -> Path:
    """Return the cache folder: ``$THINWIRE_CACHE``, else ``thinwire`` in the XDG cache folder."""
    if chosen := os.environ.get("THINWIRE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thinwire"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Claim an entry of the cache, a folder, so that processes of any host make it one at a time.

    What a killed process left half-written of the entry is removed.

    Raises:
        StorageError: the folder cannot be written to.
    """
    make_folder(folder)
    with waiting(folder.with_name(f"{folder.name}.claim"), f"{folder.name} in the cache"):
        remove_partial_files(folder)
        remove_partial_files(folder.parent, f".{folder.name.lstrip('.')}*")
        yield
