"""Open a regular file for reading, or say what is in its place.

Users' files (``inputs``), the package's own (``reading``) and models' (``model.safe_json``) are opened here. The words
and the exit code differ, as does who can mend a file.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from thinwire.errors import ThinwireError

LFS_POINTER = b"version https://git-lfs"
"""How the text begins that Git LFS leaves in place of a file that was not downloaded."""

_BOM = b"\xef\xbb\xbf"
"""What some editors put before UTF-8 text."""
_BEGINNING = 64
_BLOCK = 1 << 20
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Without waiting: opening a pipe that nobody writes to would block for ever."""
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
_SAID = {errno.ELOOP: "a link to itself", errno.ENXIO: "a socket or device"}


class NotRegularError(ThinwireError):
    """What is at a path cannot be read as a regular file."""

    def __init__(self, path: Path, found: str, *, is_missing: bool = False) -> None:
        super().__init__(f"{path} is {found}; expected a file")
        self.found = found
        """What is there, as it stands after "is": ``missing``, ``a folder``, ``unreadable (Permission denied)``."""
        self.is_missing = is_missing
        """Whether nothing is there, or a link to nothing."""


def open_regular(path: Path, within: Path | None = None) -> BinaryIO:
    """Open a regular file for reading, in binary, without waiting for anything.

    Args:
        within: the folder that the file must lie in after links are followed; None allows any place.

    Raises:
        NotRegularError: it is missing, a folder, pipe, socket, device or circle of links, unreadable, or lies outside.
    """
    try:
        if within is not None and not (real := Path(os.path.realpath(path))).is_relative_to(os.path.realpath(within)):
            raise NotRegularError(path, f"a link to {real}, outside of {within}")
        handle = os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        found = f"a link to {path.readlink()}, which does not exist" if path.is_symlink() else "missing"
        raise NotRegularError(path, found, is_missing=True) from None
    except OSError as error:
        raise NotRegularError(path, _found(error)) from None
    except ValueError as error:  # no system allows the name
        raise NotRegularError(path, f"no name of a file ({error})") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise NotRegularError(path, next((name for is_one, name in _KINDS if is_one(mode)), "a device"))
    return os.fdopen(handle, "rb", buffering=_BLOCK)


def check_regular(path: Path, within: Path | None = None) -> None:
    """Refuse what ``open_regular`` refuses, for a file that a library opens by its name."""
    open_regular(path, within).close()


def open_beginning(path: Path) -> tuple[BinaryIO, bytes]:
    """Open a regular file as ``open_regular`` does, after its BOM if it has one; return it with its first 64 bytes.

    Raises:
        NotRegularError: as ``open_regular``, or nothing can be read from it.
    """
    file = open_regular(path)
    try:
        beginning = file.read(_BEGINNING)
        file.seek(len(_BOM) if beginning.startswith(_BOM) else 0)
    except OSError as error:
        file.close()
        raise NotRegularError(path, _found(error)) from None
    return file, beginning


def _found(error: OSError) -> str:
    return _SAID.get(error.errno or 0, f"unreadable ({error.strerror})")
