"""Read the rows of a user's CSV, TSV and JSON Lines files: strictly, and one at a time, so that no file has to fit the
memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from thinwire.errors import UsageError, shown
from thinwire.inputs import json_kind, not_utf8, opened, parse_json

_MOST_JSON_LINE_BYTES = 1 << 26
_MOST_TABLE_LINE_BYTES = 1 << 24
"""A longer line is no table, and would have to be held whole."""

Numbered = tuple[str, dict[str, Any]]
"""The place of a row in its file, for messages (``line 3``, of several its first), and its values by the names of their
fields or columns."""


def json_rows(
    path: Path, what: str, decoder: json.JSONDecoder, *, expected: str, most_bytes: int | None = None
) -> Iterator[Numbered]:
    """Yield the object in each line that is not blank.

    Args:
        what: the file in words, for messages: ``data file``.
        decoder: one of ``strict_json``.
        expected: what a line should hold, for messages: ``an object for each item``.
        most_bytes: of the file; None for any number.

    Raises:
        UsageError: the file cannot be read or is larger than ``most_bytes``, or a line is too long or no JSON object.
    """
    with opened(path, what) as file:
        for number, line in _lines(file, path, _MOST_JSON_LINE_BYTES, f"expected {expected}"):
            if most_bytes is not None and file.tell() > most_bytes:
                raise UsageError(f"the {what} {path} has more than {most_bytes:,} bytes; give a smaller one")
            if not line.strip():
                continue
            fields = parse_json(line, f"{path}, line {number}", decoder)
            if not isinstance(fields, dict):
                raise UsageError(f"{path}, line {number}: found {json_kind(fields)}, expected {expected}")
            yield f"line {number}", fields


def table_rows(
    path: Path, what: str, separator: str, check_names: Callable[[list[str], str], object]
) -> Iterator[Numbered]:
    """Yield the rows of a CSV or TSV file, whose first line that is not blank names the columns.

    Args:
        what: the file in words, for messages: ``data file``.
        separator: what separates the cells of a line.
        check_names: called with the names of the columns and their place, file included, before any row is read.

    Raises:
        UsageError: the file cannot be read, it is no UTF-8 or no such table, or a row has not as many cells as there
            are columns; and whatever ``check_names`` raises.
    """
    with opened(path, what) as file:
        lines = (line for _, line in _lines(file, path, _MOST_TABLE_LINE_BYTES, "is it a table?"))
        # Strict: a quote in the middle of a quoted cell is an error, not a guess.
        reader = csv.reader(lines, delimiter=separator, strict=True)
        names: list[str] | None = None
        while True:
            place = f"line {reader.line_num + 1}"
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise UsageError(f"{path}, {place}: {_complaint(error)}") from None
            if cells is None:
                return
            if not cells:  # a blank line
                continue
            if names is None:
                names = cells
                check_names(names, f"{path}, {place}")
            elif len(cells) != len(names):
                raise UsageError(
                    f"{path}, {place}: found {len(cells)} cells, expected {len(names)}, one for each column "
                    f"({shown(', '.join(names), 120)}); put texts with {separator!r} or a line end in quotes"
                )
            else:
                yield place, dict(zip(names, cells, strict=True))


def _lines(file: BinaryIO, path: Path, most_bytes: int, hint: str) -> Iterator[tuple[int, str]]:
    number = 0
    while line := file.readline(most_bytes + 1):
        number += 1
        if len(line) > most_bytes:
            raise UsageError(f"{path}, line {number}: has more than {most_bytes:,} bytes; {hint}")
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}, line {number}: {not_utf8(error)}") from None


def _complaint(error: csv.Error) -> str:
    if "field limit" in str(error):
        return (
            f"a cell has more than {csv.field_size_limit():,} characters; is a quote not closed? a .jsonl takes longer "
            "ones"
        )
    return f"no table ({error}); quotes stand around a whole cell, and twice inside one"
