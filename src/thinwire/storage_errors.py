"""What the operating system refuses to write, in words."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from thinwire.errors import StorageError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the operating system in the block into a ``StorageError`` about ``path``.

    Raises:
        StorageError: it names the file, the cause and the free space.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(_complaint(path, error.errno)) from error


def _complaint(path: Path, code: int | None) -> str:
    """Say that ``path`` cannot be written, why, how much space is left, and what to do about it."""
    cause = f"{os.strerror(code)} ({errno.errorcode.get(code, code)})" if code else "unknown cause"
    remedy = _REMEDIES.get(code or 0, "check the disk and its mount")
    return f"{path} cannot be written: {cause}; {free_space(path) / 1e9:,.3f} GB are free there; {remedy}"


_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "choose a folder on a file system that can be written to",
    errno.EACCES: "give this user the right to write there",
    errno.EPERM: "give this user the right to write there",
}


def free_space(path: Path) -> int:
    """Return the bytes that this user can still write on the file system of ``path``, which need not exist; 0 if that
    cannot be told."""
    for place in (path, *path.absolute().parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return 0
