"""Read the rows of CSV, TSV and Parquet files, a few at a time."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from thinwire.config.settings import ColumnsConfig
from thinwire.data.columns import check_columns, column_names
from thinwire.data.confined import Limits, run_confined
from thinwire.errors import UsageError, foreign
from thinwire.inputs import opened_binary, parse_json
from thinwire.row_files import Numbered, table_rows
from thinwire.strict_json import WRITTEN_DECODER

SEPARATORS: Mapping[str, str] = {".csv": ",", ".tsv": "\t"}
"""What separates the cells of a line, by the ending of the file's name."""

_BATCH_ROWS = 1_000
_LARGEST_GROUP = 1 << 32
"""Bytes, unpacked, of the columns that are read of one row group of a Parquet file."""
_LIMITS = Limits(cpu_seconds=100, memory_bytes=1 << 34)
"""Of the first reading of a Parquet file; 1 GB takes a few seconds."""


def text_rows(path: Path, columns: ColumnsConfig) -> Iterator[Numbered]:
    """Yield the rows of a CSV or TSV file, whose first line names the columns; all cells are texts.

    Args:
        path: its ending says what separates cells.

    Raises:
        UsageError: as ``table_rows``, or a column that is needed is missing.
    """
    separator = SEPARATORS[path.suffix.lower()]
    return table_rows(path, "data file", separator, lambda names, place: check_columns(names, columns, place))


def answers_of_cell(cell: Any, place: str) -> Any:
    """Return the value of a cell with gold answers: a text, or what its JSON says.

    An empty cell means no answer. A cell that begins with a bracket is JSON, so that a list is never taken for a text.

    Raises:
        UsageError: it begins with a bracket and is no JSON.
    """
    if cell == "":
        return []
    if not isinstance(cell, str) or not cell.lstrip().startswith(("[", "{")):
        return cell
    try:
        return parse_json(cell.strip(), place, WRITTEN_DECODER)
    except UsageError as error:
        example = json.dumps([cell.strip()[:20]], ensure_ascii=False)
        raise UsageError(
            f'{error}; a cell that begins with a bracket is JSON: ["first", "second"], or, for a text that begins with '
            f"one, a list of that text: {example}"
        ) from None


def parquet_rows(path: Path, columns: ColumnsConfig) -> Iterator[Numbered]:
    """Yield the rows of a Parquet file, counted from 0, with the columns that hold fields.

    A child process reads the file first, because pyarrow ends the process at some damaged files.

    Raises:
        UsageError: pyarrow is not installed or cannot read it, a column that is needed is missing, or a part of it is
            too large to be unpacked.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError(
            f"{path} is a Parquet file; to read it, install the package with its extra: "
            "pip install 'thinwire[datasets]'"
        )
    import pyarrow.parquet  # optional, and slow to import

    with opened_binary(path, "data file") as (file, _):
        now, failing = os.fstat(file.fileno()), f"the data file {path} cannot be read as Parquet"
        names = run_confined(
            failing,
            "parquet",
            _LIMITS,
            path=str(path.resolve()),
            columns=sorted(column_names(columns)),
            most_bytes=_LARGEST_GROUP,
            version=[now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns],
        )
        used = check_columns(names, columns, str(path))
        with foreign(failing):
            table = pyarrow.parquet.ParquetFile(file)
            batches = table.iter_batches(batch_size=_BATCH_ROWS, columns=used, use_threads=False)
        number = 0
        while True:
            with foreign(failing):
                batch = next(batches, None)
                rows = batch.to_pylist() if batch is not None else None
            if rows is None:
                return
            for row in rows:
                yield f"row {number}", row
                number += 1
