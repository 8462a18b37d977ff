"""Read the JSON files of a model, which others wrote, within bounds."""

from __future__ import annotations

from pathlib import Path
from stat import S_ISREG
from typing import Any

from thinwire.errors import UsageError, summary
from thinwire.strict_json import DECODER

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"

LARGEST_SETTINGS = 16 << 20
"""Most bytes of a file of settings, such as ``config.json``; a real one has kilobytes."""
LARGEST_VOCABULARY = 512 << 20
"""Most bytes of a tokenizer's file; the largest in use have 30 MB."""


def check_regular(path: Path, what: str) -> int:
    """Return the size of the file ``path`` in bytes, which is above 0.

    Args:
        what: the file's place in messages, such as ``model NAME: config.json``.

    Raises:
        UsageError: it is missing, no regular file, empty, unreadable, or the pointer that Git LFS leaves for a file
            that was not downloaded.
    """
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):  # before it is opened: a fifo would wait for ever
            raise UsageError(f"{what} is no regular file; put the file itself there")
        with path.open("rb") as file:
            beginning = file.read(len(_LFS_POINTER))
    except (OSError, ValueError) as error:
        raise UsageError(f"{what} cannot be read ({summary(error)})") from None
    if not beginning:
        raise UsageError(f"{what} is empty; download it again")
    if beginning == _LFS_POINTER:
        raise UsageError(f"{what} is a Git LFS pointer and not the file itself; run `git lfs pull`, or download it")
    return status.st_size


def read_object(path: Path, what: str, largest: int = LARGEST_SETTINGS) -> dict[str, Any]:
    """Read the JSON object in ``path``.

    Args:
        what: the file's place in messages.
        largest: most bytes that it may have.

    Raises:
        UsageError: it cannot be read, is too large or nested too deep, is no JSON object, or has a key twice.
    """
    if (size := check_regular(path, what)) > largest:
        raise UsageError(f"{what} has {size:,} bytes, more than the {largest:,} that such a file may have")
    try:
        found = DECODER.decode(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{what} is no JSON ({summary(error)}); download it again") from None
    if not isinstance(found, dict):
        raise UsageError(f"{what} holds {type(found).__name__} where a JSON object is expected; download it again")
    return found
