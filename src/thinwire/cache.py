"""The cache folder and its lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


def cache_dir() -> Path:
    """Return the cache folder: ``$THINWIRE_CACHE``, else ``thinwire`` in the XDG cache folder."""
    if chosen := os.environ.get("THINWIRE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thinwire"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache folder, so that two processes never write the same entry at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        yield
