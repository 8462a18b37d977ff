"""Strict reads of files that this package wrote: each returns whole, checked content or raises one error.

A file that was cut, replaced or changed by hand is refused with its name, the line, what was found and what is
expected. Nothing here waits: a named pipe in the place of a file is refused before it is read.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from thinwire.errors import ThinwireError, shown
from thinwire.strict_json import DECODER

_SHOWN = 60
"""Characters of a refused value that a message shows."""

_LARGEST = 1 << 31
"""Bytes of the largest file that is read whole: answers to millions of questions."""

Row = TypeVar("Row")


def check_regular(path: Path, within: Path | None = None) -> None:
    """Refuse anything but a readable regular file.

    Args:
        within: the folder that the file must lie in after links are followed; None allows any place.

    Raises:
        ThinwireError: it is missing, a folder, a pipe, a device, unreadable, or lies outside.
    """
    os.close(_open(path, within))


def read_bytes(path: Path, within: Path | None = None) -> bytes:
    """Read a regular file; arguments and errors as in ``check_regular``."""
    with os.fdopen(_open(path, within), "rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > _LARGEST:
            raise ThinwireError(f"{path} has {size:,} bytes, expected {_LARGEST:,} at most; the file is damaged")
        try:
            return file.read()
        except OSError as error:
            raise ThinwireError(f"{path} cannot be read: {error.strerror}") from None


def read_text(path: Path, within: Path | None = None) -> str:
    """Read a regular file of UTF-8 text; arguments and errors as in ``check_regular``."""
    content = read_bytes(path, within)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ThinwireError(
            f"{path}, line {line}: byte {content[error.start]:#04x} is no UTF-8 text; the file is damaged"
        ) from None


def read_json(path: Path, within: Path | None = None) -> Any:
    """Read a JSON file.

    Args:
        within: as in ``check_regular``.

    Raises:
        ThinwireError: it cannot be read, or is no JSON: cut off, a key twice, a number that is not finite or has
            thousands of digits, nested too deep, or text that is no Unicode.
    """
    return _parse(read_text(path, within), str(path), first_line=1)


def read_jsonl(path: Path, within: Path | None = None) -> list[Any]:
    """Read a JSON Lines file; arguments and errors as in ``read_json``."""
    # Not splitlines: strings in the JSON may contain other characters that it treats as line ends.
    lines = read_text(path, within).removesuffix("\n").split("\n")
    if lines == [""]:
        return []
    return [_parse(line, str(path), first_line=number) for number, line in enumerate(lines, start=1)]


def read_rows(path: Path, rows: TypeAdapter[list[Row]], within: Path | None = None) -> list[Row]:
    """Read a JSON Lines file whose rows have the type that ``rows`` validates.

    Raises:
        ThinwireError: as ``read_json``, or a row lacks an entry or has one of another type; the first is named.
    """
    try:
        return rows.validate_python(read_jsonl(path, within))
    except ValidationError as error:
        first = error.errors()[0]
        number, *place = first["loc"] or (0,)
        line = f", line {int(number) + 1}" if isinstance(number, int) else ""
        raise ThinwireError(f"{path}{line}: {complaint(first, place)}") from None


def complaint(error: ErrorDetails, place: Sequence[int | str]) -> str:
    """Say what is wrong at a place: ``results.test.f1: Input should be a valid number, got 'x'``."""
    where = ".".join(map(str, place))
    found = "" if error["type"] == "missing" else f", got {shown(error['input'], _SHOWN)}"
    return f"{where}: {error['msg']}{found}" if where else f"{error['msg']}{found}"


def _open(path: Path, within: Path | None) -> int:
    """Open a regular file for reading, without waiting for a pipe's writer; returns its descriptor."""
    try:
        if within is not None and not path.resolve().is_relative_to(within.resolve()):
            raise ThinwireError(f"{path} leads to {path.resolve()}, outside of {within}; put a copy of the file there")
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        missing = f"a link to {path.readlink()}, which does not exist" if path.is_symlink() else "missing"
        raise ThinwireError(f"{path} is {missing}; expected a file") from None
    except (OSError, RuntimeError, ValueError) as error:  # also a circle of links, or a name that no system allows
        raise ThinwireError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return handle
    os.close(handle)
    found = next((name for is_one, name in _KINDS if is_one(mode)), "no regular file")
    raise ThinwireError(f"{path} is {found}; expected a file")


_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def _parse(text: str, name: str, *, first_line: int) -> Any:
    try:
        value = DECODER.decode(text)
        if "\\u" in text:  # a half of a character can only be escaped
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise ThinwireError(f"{name}, line {line}: no complete JSON ({error.msg}, column {error.colno})") from None
    except RecursionError:
        raise ThinwireError(f"{name}, line {first_line}: nested too deep") from None
    except UnicodeEncodeError as error:
        raise ThinwireError(f"{name}, line {first_line}: {error.object[error.start]!a} is no Unicode text") from None
    except ValueError as error:
        raise ThinwireError(f"{name}, line {first_line}: {str(error).partition(';')[0]}") from None
    return value
