"""Read files that a user names, strictly: each returns its text or values, or one error that says what was found.

Files that the package itself wrote are read by ``reading``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from thinwire.errors import UsageError, shown
from thinwire.regular_file import LFS_POINTER, NotRegularError, open_beginning
from thinwire.strict_json import DECODER, NotStrictError

_OTHER_FORMATS = (
    (b"\x1f\x8b", "gzip data", "unpack it first"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"BZh", "bzip2 data", "unpack it first"),
    (b"\xfd7zXZ\x00", "xz data", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd data", "unpack it first"),
    (b"PAR1", "a Parquet file", "name it .parquet"),
    (LFS_POINTER, "a Git LFS pointer and not the file itself", "fetch it with `git lfs pull`"),
    (b"\xff\xfe\x00\x00", "text in UTF-32", "save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "text in UTF-32", "save it as UTF-8"),
    (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
    (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
)
"""How files begin that are not UTF-8 text, what they are, and what to do."""


class NoFileError(UsageError):
    """There is no file of that name."""


def check_path(path: str | Path, what: str) -> Path:
    """Return the path of ``what`` if a file system can have it and a message can show it.

    Raises:
        UsageError: it is empty, holds characters that cannot be printed (which would act on a terminal or break a
            line of a log), begins with a ``~`` that the shell has not turned into the home folder, or is too long.
    """
    text = str(path)
    if not text.strip():
        raise UsageError(f"the path of the {what} is empty; name one")
    if not text.isprintable():
        raise UsageError(f"the path of the {what} holds characters that cannot be printed: {shown(text)}; rename it")
    if len(os.fsencode(text)) > 4_000 or any(len(os.fsencode(part)) > 255 for part in Path(text).parts):
        raise UsageError(f"the path of the {what} is too long: {shown(text)}; names have at most 255 bytes")
    if text == "~" or text.startswith("~/"):
        raise UsageError(
            f"the path of the {what} is {shown(text)}, where ~ is not read as the home folder; write the whole path, "
            'in a shell with "$HOME" in its place'
        )
    return Path(text)


@contextmanager
def opened(path: Path, what: str) -> Iterator[BinaryIO]:
    """Open the regular, non-empty file ``path`` for reading, in binary, after its BOM if it has one.

    Args:
        what: the file in words, for messages: ``data file``.

    Raises:
        UsageError: there is no such file, it is something else (a folder, a pipe, a device), it cannot be read, is
            empty, or is no UTF-8 text by its first bytes.
    """
    with opened_binary(path, what) as (file, start):
        for beginning, found, remedy in _OTHER_FORMATS:
            if start.startswith(beginning):
                raise UsageError(f"the {what} {path} is {found}; expected UTF-8 text: {remedy}")
        if 0 in start:
            raise UsageError(f"the {what} {path} is text in UTF-16 or UTF-32, or no text; save it as UTF-8")
        yield file


@contextmanager
def opened_binary(path: Path, what: str) -> Iterator[tuple[BinaryIO, bytes]]:
    """Open a file as ``opened`` does, whatever it holds; yields it, and its first 64 bytes.

    Raises:
        UsageError: there is no such file, it is something else, it cannot be read, or is empty.
    """
    check_path(path, what)
    try:
        file, start = open_beginning(path)
    except NotRegularError as error:
        if error.is_missing:
            raise NoFileError(f"no {what} {path}") from None
        raise UsageError(f"the {what} {path} is {error.found}; expected an ordinary file") from None
    with file:
        if not start:
            raise UsageError(f"the {what} {path} is empty")
        yield file, start


def read_text(path: Path, what: str, *, most_bytes: int) -> str:
    """Read a whole UTF-8 file.

    Raises:
        UsageError: as ``opened``, or it is larger than ``most_bytes`` or no UTF-8.
    """
    with opened(path, what) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise UsageError(f"the {what} {path} has more than {most_bytes:,} bytes; give a smaller one")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: {not_utf8(error)}") from None


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say which byte is no UTF-8, and what to do."""
    return (
        f"the byte 0x{error.object[error.start]:02x} is no UTF-8; the file may be in Latin-1 or Windows-1252: "
        "save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8)"
    )


def parse_json(text: str, place: str, decoder: json.JSONDecoder = DECODER) -> Any:
    """Parse strict JSON; ``place`` is its file, and line if it is one line of a file.

    Args:
        decoder: one of ``strict_json``.

    Raises:
        UsageError: it is no JSON, a key stands twice, a number is NaN, infinite or too long, or it is nested too
            deeply.
    """
    try:
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place}: {json_complaint(error)}") from None


def json_complaint(error: ValueError | RecursionError) -> str:
    """Say what is wrong with a JSON text, given what decoding it raised."""
    if isinstance(error, RecursionError):
        return "JSON nested too deeply; expected a few levels"
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON ({error.msg}, found {shown(error.doc[error.pos : error.pos + 20])})"
    if isinstance(error, NotStrictError):
        return str(error)
    return "a number has thousands of digits; shorten it"  # Python's limit on the digits of integers


def json_kind(value: object) -> str:
    """Name the kind of a value of JSON or of a table, with the value where it is short: ``a number (3)``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"a number ({shown(value, 24)})"
    if isinstance(value, str):
        return f"a text ({shown(value, 44)})"
    if isinstance(value, list | tuple):
        return "a list"
    # Tables hold more than JSON does: dates, bytes.
    return "an object" if isinstance(value, dict) else f"a value of the type {type(value).__name__}"


def text_fault(text: str) -> str | None:
    """Say why a text cannot be used: it is blank, or holds characters that are no text; None if it can."""
    if not text or text.isspace():
        return "a blank text"
    if "\0" in text:
        return "a text with a NUL character"
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "a text with half a surrogate pair (\\ud800 to \\udfff alone)"
    return None
