"""Strict reads of files that this package wrote: each returns whole, checked content or raises one error.

A file that was cut, replaced or changed by hand is refused with its name, the line, what was found and what is
expected. Nothing here waits: a named pipe in the place of a file is refused before it is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from thinwire.errors import ThinwireError, shown
from thinwire.regular_file import open_regular
from thinwire.strict_json import DECODER

_SHOWN = 60
"""Characters of a refused value that a message shows."""

_LARGEST = 1 << 31
"""Bytes of the largest file that is read whole: answers to millions of questions."""

Row = TypeVar("Row")


def read_bytes(path: Path, within: Path | None = None) -> bytes:
    """Read a regular file.

    Args:
        within: the folder that the file must lie in after links are followed; None allows any place.

    Raises:
        ThinwireError: it is no regular file, lies outside, is too large to be one of the package's, or unreadable.
    """
    with open_regular(path, within) as file:
        if (size := os.fstat(file.fileno()).st_size) > _LARGEST:
            raise ThinwireError(f"{path} has {size:,} bytes, expected {_LARGEST:,} at most; the file is damaged")
        try:
            return file.read()
        except OSError as error:
            raise ThinwireError(f"{path} cannot be read: {error.strerror}") from None


def read_text(path: Path, within: Path | None = None) -> str:
    """Read a regular file of UTF-8 text; arguments and errors as in ``read_bytes``."""
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
        within: as in ``read_bytes``.

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
    """Say what is wrong at a place: ``results.test.score: Input should be a valid number, got 'x'``."""
    where = ".".join(map(str, place))
    found = "" if error["type"] == "missing" else f", got {shown(error['input'], _SHOWN)}"
    return f"{where}: {error['msg']}{found}" if where else f"{error['msg']}{found}"


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
