"""Read JSON Lines files of other tools, which may hold numbers that strict JSON does not have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from thinwire.row_files import json_rows
from thinwire.strict_json import PYTHON_DECODER

_MOST_BYTES = 1 << 33


class Line(NamedTuple):
    """One line of a file."""

    place: str
    """Its file and number, for messages."""
    fields: dict[str, Any]


def json_lines(path: Path, what: str) -> Iterator[Line]:
    """Yield the object in each line that is not blank.

    Args:
        path: the file.
        what: the file in words, for messages.

    Raises:
        UsageError: it cannot be read, a line is too long or no JSON object, or the file is larger than 8 GiB.
    """
    expected = "an object for each item"
    for place, fields in json_rows(path, what, PYTHON_DECODER, expected=expected, most_bytes=_MOST_BYTES):
        yield Line(f"{path}, {place}", fields)
