"""Read the JSON files of a model, which others wrote, within bounds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from thinwire.errors import UsageError, summary
from thinwire.regular_file import LFS_POINTER, NotRegularError, open_beginning
from thinwire.strict_json import DECODER

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
    with _opened(path, what) as file:
        return _size(file)


def read_object(path: Path, what: str, largest: int = LARGEST_SETTINGS) -> dict[str, Any]:
    """Read the JSON object in ``path``.

    Args:
        what: the file's place in messages.
        largest: most bytes that it may have.

    Raises:
        UsageError: it cannot be read, is too large or nested too deep, is no JSON object, or has a key twice.
    """
    try:
        with _opened(path, what) as file:
            if (size := _size(file)) > largest:
                raise UsageError(f"{what} has {size:,} bytes, more than the {largest:,} that such a file may have")
            found = DECODER.decode(file.read().decode("utf-8"))
    except UsageError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{what} is no JSON ({summary(error)}); download it again") from None
    if not isinstance(found, dict):
        raise UsageError(f"{what} holds {type(found).__name__} where a JSON object is expected; download it again")
    return found


@contextmanager
def _opened(path: Path, what: str) -> Iterator[BinaryIO]:
    """Open a file, after its BOM if it has one; errors as in ``check_regular``."""
    try:
        file, beginning = open_beginning(path)
    except NotRegularError as error:
        raise UsageError(f"{what} is {error.found}; put the file itself there") from None
    with file:
        if not beginning:
            raise UsageError(f"{what} is empty; download it again")
        if beginning.startswith(LFS_POINTER):
            raise UsageError(f"{what} is a Git LFS pointer and not the file itself; run `git lfs pull`, or download it")
        yield file


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
