"""Read JSON Lines files of other tools one line at a time, so that a file need not fit the memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from thinwire.errors import UsageError
from thinwire.inputs import json_kind, not_utf8, opened, parse_json
from thinwire.strict_json import PYTHON_DECODER

_MOST_LINE_BYTES = 1 << 26
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
    read = 0
    with opened(path, what) as file:
        number = 0
        while content := file.readline(_MOST_LINE_BYTES + 1):
            number += 1
            place = f"{path}, line {number}"
            read += len(content)
            if len(content) > _MOST_LINE_BYTES:
                raise UsageError(f"{place} has more than {_MOST_LINE_BYTES:,} bytes; expected one item a line")
            if read > _MOST_BYTES:
                raise UsageError(f"the {what} {path} has more than {_MOST_BYTES:,} bytes; give a smaller one")
            if not content.strip():
                continue
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise UsageError(f"{place}: {not_utf8(error)}") from None
            fields = parse_json(text, place, PYTHON_DECODER)
            if not isinstance(fields, dict):
                raise UsageError(f"{place}: found {json_kind(fields)}, expected an object for each item")
            yield Line(place, fields)
