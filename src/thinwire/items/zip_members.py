"""Read members of a zip archive that others made, with limits on what unpacking may give."""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thinwire.errors import UsageError, foreign
from thinwire.inputs import NoFileError, check_path
from thinwire.regular_file import NotRegularError, open_regular

_ZSTANDARD = 93
"""Number of the compression in zip archives."""
_MOST_MEMBER_BYTES = 1 << 28
_PIECE = 1 << 12
"""Bytes that are asked for at a time: some decompressors unpack all that they are given of the archive at once."""


@contextmanager
def opened_zip(path: Path, what: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive; ``what`` is the file in words, for messages.

    Raises:
        UsageError: there is no such file, or it is no zip archive.
    """
    check_path(path, what)
    try:
        file = open_regular(path)
    except NotRegularError as error:
        if error.is_missing:
            raise NoFileError(f"no {what} {path}") from None
        raise UsageError(f"the {what} {path} is {error.found}; expected an ordinary file") from None
    with file:
        with foreign(f"the {what} {path} is no whole zip archive"):
            archive = zipfile_that_knows_most().ZipFile(file)
        with archive:
            yield archive


def read_member(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    """Unpack one member, a UTF-8 text.

    Raises:
        UsageError: there is no such member, it is too large, damaged, or compressed in a way that is not installed.
    """
    place = f"{path}, {name}"
    if name not in archive.namelist():
        raise UsageError(f"{path} holds no {name}")
    member = archive.getinfo(name)
    if member.compress_type == _ZSTANDARD and not hasattr(zipfile_that_knows_most(), "ZIP_ZSTANDARD"):
        raise UsageError(
            f"{path} is compressed with Zstandard, which Python reads from 3.14 on; "
            "for earlier ones: pip install 'thinwire[inspect]'"
        )
    content = bytearray()
    with foreign(f"{place} cannot be unpacked"), archive.open(member) as file:
        while piece := file.read(_PIECE):
            content += piece
            if len(content) > _MOST_MEMBER_BYTES:
                raise UsageError(f"{place} has more than {_MOST_MEMBER_BYTES:,} bytes; the archive is too large")
    with foreign(f"{place} is no UTF-8 text"):
        return content.decode("utf-8")


def zipfile_that_knows_most() -> Any:
    """Return Python's ``zipfile``, or the version of Python 3.14, which knows Zstandard, where that is installed."""
    try:
        return importlib.import_module("backports.zstd.zipfile")
    except ImportError:
        return zipfile
