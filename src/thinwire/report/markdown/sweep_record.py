"""Sweep records: an analysis as a small JSON file, kept beside the text that cites its numbers.

It holds no answers and no curves, so that a repository can keep it when the sweep's folder is gone. It is written a row
a line, so that numbers that change are lines that change. Its last entry is the hash of all others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from thinwire.errors import ThinwireError, UsageError
from thinwire.files import write_text
from thinwire.reading import read_json
from thinwire.report.analysis_record import Analysis
from thinwire.report.rows import ANALYSIS_ONLY
from thinwire.results.record import hash_missing, parse_record, sealed, unsealed

KIND = "thinwire sweep record"
"""Tells a sweep record from other JSON files beside it."""

FORMAT = 3

_WITHOUT_HASH = 2
"""The earlier format that is still read; its files may carry no hash, and are then not checked."""

_DIGITS = 6
"""Significant digits of a number: more than any table shows."""


def read_sweep_record(path: Path) -> Analysis:
    """Read a sweep record: the analysis that it was made from, rounded, without what only an analysis has.

    Raises:
        UsageError: the file holds something else, or a record of another format.
        ThinwireError: it cannot be read, is no JSON, lacks something, or is not what was written.
    """
    record, is_sealed = _of_any_format(path)
    if record.get("format") not in (FORMAT, _WITHOUT_HASH):
        raise UsageError(
            f"{path} has format {record.get('format')}, this version of Thinwire reads {_WITHOUT_HASH} and {FORMAT}; "
            "publish the sweep's folder anew, or use the version that wrote the file"
        )
    if not is_sealed and record["format"] != _WITHOUT_HASH:
        raise hash_missing(path)
    content = {name: one for name, one in record.items() if name not in ("kind", "format")}
    return parse_record(Analysis, content, path, "sweep record")


def earlier_command(path: Path, analysis: Analysis) -> str | None:
    """Return the command in the record that ``path`` holds, of whatever format, where that is of the same sweep.

    Raises:
        UsageError: ``path`` holds something that is no sweep record.
        ThinwireError: it is damaged.
    """
    before, _ = _of_any_format(path)
    sweep, command = before.get("sweep"), before.get("command")
    same = isinstance(sweep, dict) and sweep.get("started_at") == analysis.sweep.started_at
    return command if same and isinstance(command, str) else None


def write_sweep_record(path: Path, analysis: Analysis) -> None:
    """Write a sweep record, atomically; one of another format is replaced too, as its sweep is published anew.

    Raises:
        UsageError: ``path`` holds something that is no sweep record, which is not overwritten.
        ThinwireError: it holds a damaged one.
    """
    if path.exists():
        _of_any_format(path)
    write_text(path, as_text(analysis))


def _of_any_format(path: Path) -> tuple[dict[str, Any], bool]:
    """Read a sweep record without its hash, and tell whether it had one, which is checked."""
    try:
        record = read_json(path)
    except UsageError:
        raise
    except ThinwireError as error:
        raise ThinwireError(
            f"{error}; expected a sweep record, as `thinwire publish FOLDER --record FILE.json` writes it"
        ) from None
    kind = record.get("kind") if isinstance(record, dict) else None
    if kind != KIND:
        raise UsageError(
            f"{path} is no sweep record (kind {kind!r}, expected {KIND!r}); "
            "make one with `thinwire publish FOLDER --record FILE.json`"
        )
    return unsealed(record, path, path)


def as_text(analysis: Analysis) -> str:
    """Write a sweep record as JSON, with a line for each row and each entry of a group."""
    record = sealed({"kind": KIND, "format": FORMAT, **_published(analysis)})
    entries = (f"  {json.dumps(name)}: {_group(value)}" for name, value in record.items())
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _published(value: Any) -> Any:
    """``value`` as JSON, rounded, without the fields that only an analysis has.

    What a record of an earlier version does not say is left out again, rather than written as if it had been measured.
    """
    if isinstance(value, BaseModel):
        kept = [name for name, field in type(value).model_fields.items() if ANALYSIS_ONLY not in field.metadata]
        return {name: _published(getattr(value, name)) for name in kept if name in value.model_fields_set}
    if isinstance(value, Mapping):
        return {name: _published(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_published(one) for one in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _group(value: Any) -> str:
    if isinstance(value, dict) and value:
        lines, begin, end = [f"{json.dumps(name)}: {_line(one)}" for name, one in value.items()], "{", "}"
    elif isinstance(value, list) and value:
        lines, begin, end = [_line(one) for one in value], "[", "]"
    else:
        return _line(value)
    return f"{begin}\n" + ",\n".join(f"    {line}" for line in lines) + f"\n  {end}"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
