"""The cache folder, and claims on its entries."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from thinwire.claims import alone
from thinwire.files import make_folder, remove_partial_files

Result = TypeVar("Result")


def cache_dir() -> Path:
    """Return the cache folder: ``$THINWIRE_CACHE``, else ``thinwire`` in the XDG cache folder."""
    if chosen := os.environ.get("THINWIRE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thinwire"


def make_alone(folder: Path, make: Callable[[], Result], *, again: bool = True) -> Result:
    """Make an entry of the cache, a folder, by ``make``: processes of any host do so one at a time.

    What a killed process left half-written of the entry is removed.

    Args:
        make: called again if another process has taken the entry meanwhile, unless ``again`` is False
            (``claims.alone``).

    Raises:
        ClaimLostError: another process has taken the entry meanwhile, and ``again`` is False.
        StorageError: the folder cannot be written to.
    """

    def act() -> Result:
        remove_partial_files(folder)
        remove_partial_files(folder.parent, f".{folder.name.lstrip('.')}*")
        return make()

    make_folder(folder)
    return alone(folder.with_name(f"{folder.name}.claim"), f"{folder.name} in the cache", act, again=again)
