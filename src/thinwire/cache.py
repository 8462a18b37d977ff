"""The cache folder, and claims on its entries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from thinwire.claims import waiting
from thinwire.errors import UsageError, shown
from thinwire.files import make_folder, remove_partial_files
from thinwire.inputs import check_path


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
