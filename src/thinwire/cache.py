"""The cache folder and its lock."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from thinwire.files import make_folder, remove_partial_files, writing


def cache_dir() -> Path:
    """Return the cache folder: ``$THINWIRE_CACHE``, else ``thinwire`` in the XDG cache folder."""
    if chosen := os.environ.get("THINWIRE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thinwire"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache folder, so that two processes never write the same entry at once.

    What a killed process left half-written of the entry is removed.

    Raises:
        StorageError: the folder cannot be written to.
    """
    make_folder(folder)
    lock = FileLock(folder.with_name(folder.name + ".lock"))
    with writing(Path(lock.lock_file)):
        lock.acquire()
    try:
        remove_partial_files(folder)
        remove_partial_files(folder.parent, f".{folder.name.lstrip('.')}*")
        yield
    finally:
        lock.release()
