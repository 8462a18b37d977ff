"""The lock of a sweep's folder: one process at a time runs a sweep in it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from thinwire.errors import StorageError, ThinwireError, UsageError
from thinwire.files import write_text
from thinwire.reading import read_text

_LOCK, _OWNER = ".lock", ".lock_owner"
LOCK_FILES = frozenset({_LOCK, _OWNER})
"""Names of the files that lock a folder; they stay in it."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Create ``folder``, and keep other processes from running a sweep in it during the block.

    Call it only for a folder that is known to be a sweep's or new: the lock is a file in it. Folders that are new, and
    in which the block has written nothing, are removed again.

    Raises:
        UsageError: another process is using it, or it cannot be created or written to.
        StorageError: the disk is full.
    """
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    lock = FileLock(folder / _LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"another process is running a sweep in {folder}{_owner(folder)}; wait for it, or use another folder"
        ) from None
    except OSError as error:
        _remove_empty(folder, new)
        raise _unusable(folder, error) from None
    try:
        write_text(folder / _OWNER, f"{socket.gethostname()} {os.getpid()}\n")
        yield
    finally:
        _remove_empty(folder, new)  # with the lock, so that no other process has just begun there
        lock.release()


def _owner(folder: Path) -> str:
    """Name host and process of the lock's owner, as far as it is known."""
    try:
        host, process = read_text(folder / _OWNER).split()
    except (ThinwireError, ValueError):
        return ""
    return f" (process {process} on {host})"


def _unusable(folder: Path, error: OSError) -> UsageError | StorageError:
    """Return what to raise where ``folder`` cannot be made or locked."""
    reason = f"{folder} cannot hold results: {error.strerror or error}"
    if error.errno in _NO_SPACE:
        return StorageError(f"{reason}; free some space")
    return UsageError(f"{reason}; choose another folder (--output)")


def _remove_empty(folder: Path, new: list[Path]) -> None:
    """Remove the lock of a folder that holds nothing else, and those of ``new``, folder and parents, that are empty."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= LOCK_FILES:
        for name in LOCK_FILES:
            with suppress(OSError):  # some systems do not remove an open file
                (folder / name).unlink(missing_ok=True)
    for place in new:
        with suppress(OSError):  # not there, or something has been written into it
            place.rmdir()
