"""Check the path of a file or folder to be written before anything is: whether it is one, or can become one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from thinwire.errors import UsageError
from thinwire.inputs import check_path


def mode_at(path: Path, what: str) -> int | None:
    """Return the mode (``st_mode``) of what is at ``path`` after links are followed, None where there is nothing.

    Args:
        what: what the path is given for, in messages: ``output folder``.

    Raises:
        UsageError: no file system can have the path, or it may not be looked at.
    """
    try:
        return check_path(path, what).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"the {what} {path} cannot be looked at ({error.strerror})") from None


def check_output_folder(path: Path, what: str) -> bool:
    """Return whether the folder ``path``, which may be written to, is there; False if it can be made.

    Raises:
        UsageError: something else is there, or it may not be made or written to.
    """
    mode = mode_at(path, what)
    if mode is not None and not stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a file; name a folder as the {what}")
    if mode is None and path.is_symlink():
        raise UsageError(f"{path} is a link to nothing; name a folder as the {what}")
    _check_writable(path, path, what)
    return mode is not None


def check_output_file(path: Path, what: str) -> None:
    """Refuse a path that no file can be written to.

    Raises:
        UsageError: something else is there, or its folder may not be made or written to.
    """
    mode = mode_at(path, what)
    if mode is not None and not stat.S_ISREG(mode):
        raise UsageError(f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'no ordinary file'}; name a {what}")
    _check_writable(path.parent, path, what)


def _check_writable(folder: Path, path: Path, what: str) -> None:
    """Refuse to write below the nearest folder that exists, if it is none or may not be written to."""
    while mode_at(folder, what) is None and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise UsageError(f"the {what} {path} cannot be made: {folder} is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"the {what} {path} cannot be made: {folder} may not be written to")
