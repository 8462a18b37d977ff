"""The lock of a sweep's folder: one process at a time runs a sweep in it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from thinwire.errors import StorageError, UsageError
from thinwire.files import write_text

_LOCK, _OWNER = ".lock", ".lock_owner"
LOCK_FILES = frozenset({_LOCK, _OWNER})
"""Names of the files that lock a folder; they stay in it."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def check_is_folder(path: Path) -> bool:
    """Return whether there is a folder ``path``; False if nothing is there.

    Raises:
        UsageError: something else is there, or the path cannot be one.
    """
    try:
        path.lstat()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise UsageError(f"{path} is a link to {path.readlink()}, which is not there; name a folder") from None
        parent = next(place for place in path.absolute().parents if place.exists())
        if not parent.is_dir():
            raise UsageError(f"{path} cannot be a folder: {parent} is a file; choose another folder") from None
        if max(len(os.fsencode(part)) for part in path.parts) > os.pathconf(parent, "PC_NAME_MAX"):
            raise _unusable(path, OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))) from None
        return False
    except OSError as error:
        raise _unusable(path, error) from None
    if not path.is_dir():
        raise UsageError(f"{path} is a file, and results need a folder; choose another name")
    return True


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
        host, process = (folder / _OWNER).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
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
