"""Give a file a name that it shares with no other: by a hard link, which only one of several processes can make."""

import errno
import os
from pathlib import Path

from thinwire.partial_files import PARTIAL, temporary_file
from thinwire.storage_errors import writing

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EIO)
"""Errors of file systems that have no hard links; EIO is rclone's."""


def linked(temporary: Path, path: Path) -> bool:
    """Give a file the name ``path`` too, and return whether it has it; False if another file had it.

    Raises:
        OSError: the file system has no hard links (``NO_LINKS``), or it cannot be written to.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:  # which its owner may have removed since
        return _is_same(temporary, path)
    except OSError:
        if _is_same(temporary, path):
            return True
        if os.path.lexists(path):
            return False
        raise
    return True


def _is_same(temporary: Path, path: Path) -> bool:
    """Return whether both name one file: a network file system may have linked it, lost its answer and tried again."""
    try:
        return path.samefile(temporary)
    except FileNotFoundError:
        return False


def named(temporary: Path, path: Path) -> bool:
    """Give a file the name ``path`` as ``linked`` does, and where there are no hard links by renaming it."""
    try:
        return linked(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        temporary.rename(path)
        return True


def has_hard_links(folder: Path) -> bool:
    """Return whether the file system of ``folder`` has hard links.

    Raises:
        StorageError: nothing can be written there.
    """
    with writing(folder):
        temporary = temporary_file(folder / "link")
        other = temporary.with_name(f"{temporary.name[: -len(PARTIAL)]}.2{PARTIAL}")
        try:
            os.link(temporary, other)
        except OSError as error:
            if error.errno in NO_LINKS:
                return False
            raise
        finally:
            for path in (other, temporary):
                path.unlink(missing_ok=True)
    return True
