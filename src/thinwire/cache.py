"""The cache folder, and claims on its entries."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from thinwire.claims import alone
from thinwire.errors import UsageError, shown
from thinwire.files import make_folder, remove_partial_files
from thinwire.inputs import check_path

Result = TypeVar("Result")


def cache_dir() -> Path:
    """Return the cache folder: ``$THINWIRE_CACHE``, else ``thinwire`` in the XDG cache folder.

    Raises:
        UsageError: this user has no home folder to put it into, or no folder can be there.
    """
    chosen, xdg = os.environ.get("THINWIRE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(chosen).expanduser() if chosen else Path(xdg or Path.home() / ".cache") / "thinwire"
    except RuntimeError:  # the home folder of a user whom this host does not know, as in a container
        found = f"THINWIRE_CACHE={shown(chosen)} begins with" if chosen else "the cache would be in"
        raise UsageError(f"{found} a home folder that is not known; set THINWIRE_CACHE to a folder's path") from None
    nearest = check_path(folder, "cache (THINWIRE_CACHE)")
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UsageError(f"the cache {folder} cannot be made: {nearest} is no folder; set THINWIRE_CACHE to another")
    return folder


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
