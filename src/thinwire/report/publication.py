"""What is published of a finished sweep: a small JSON record of its figures, kept beside the text that cites them.

It holds no answers and no curves, so that a repository can keep it when the run's folder is gone. It is written a row a
line, so that figures that change are lines that change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from thinwire.errors import UsageError
from thinwire.records import read_json, write_text

Publication = dict[str, Any]

KIND = "thinwire publication"
"""Tells a record from other JSON files beside it."""

_FORMAT = 1

_DIGITS = 6
"""Significant digits of a figure: more than any table shows."""

_SWEEP = (
    *("name", "description", "baseline", "experiment_hash", "model", "samples", "epochs", "environment"),
    *("started_at", "finished_at"),
)
_VERDICT = (
    *("headline", "sentence", "best", "judged_by", "tier", "supported_tier", "helped", "questions_needed"),
    *("baseline_check", "uncertainty_covers"),
)
_ROW = (
    *("name", "kind", "status", "error", "best", "is_baseline", "reads", "rank", "alpha", "layers", "num_layers"),
    *("settings", "n", "num_seeds", "params", "adapter_params", "lora_params", "table_bytes", "code_bits", "minutes"),
    *("f1", "em", "raw_f1", "selection_f1", "f1_difference", "em_difference", "observed_tier", "supported_tier"),
    *("questions_needed", "share_of_ceiling", "cosine_at_start", "cosine", "rare_cosine", "relative_mse"),
    "nearest_row_accuracy",
)
_FORM = ("distinct_share", "top_first_word", "top_first_word_share", "run_on_share")


def publication(analysis: Mapping[str, Any], command: str | None = None) -> Publication:
    """The record of an analysis: the same names and units, without what a table does not show.

    F1, EM, shares and differences are fractions, `seconds` is from the sweep's start to its end (a pause between two
    parts of a resumed sweep counts), `minutes` a training's own. What is missing is None.

    Args:
        command: what was typed to run the sweep, if that is known; its folder does not hold it.
    """
    figures = _rounded(analysis)
    sweep = figures["sweep"]
    return {
        "kind": KIND,
        "format": _FORMAT,
        "command": command,
        "sweep": {**_chosen(sweep, _SWEEP), "seconds": _seconds(sweep["started_at"], sweep["finished_at"])},
        "thresholds": figures["thresholds"],
        "confidence": figures["confidence"],
        "resamples": sweep["verdict"]["resamples"],
        "verdict": _chosen(figures["verdict"], _VERDICT),
        "rows": [{**_chosen(row, _ROW), "collapse": _form(row.get("collapse"))} for row in figures["rows"]],
        "bytes": figures["bytes"],
        "codecs": figures["codecs"],
        "notes": figures["notes"],
    }


def read_publication(path: Path) -> Publication:
    """Read a record.

    Raises:
        UsageError: the file holds something else, or a record of another format.
        ThinwireError: it cannot be read, or is no JSON.
    """
    record = _of_any_format(path)
    if record.get("format") != _FORMAT:
        raise UsageError(
            f"{path} has format {record.get('format')}, this version of Thinwire reads {_FORMAT}; "
            "publish the sweep's folder anew, or use the version that wrote the file"
        )
    return record


def earlier_command(path: Path, record: Publication) -> str | None:
    """The command in the record that ``path`` holds, of whatever format, where that is of the same sweep.

    Raises:
        UsageError: ``path`` holds something that is no record.
    """
    before = _of_any_format(path)
    sweep, command = before.get("sweep"), before.get("command")
    same = isinstance(sweep, dict) and sweep.get("started_at") == record["sweep"]["started_at"]
    return command if same and isinstance(command, str) else None


def write_publication(path: Path, record: Publication) -> None:
    """Write a record, atomically; one of another format is replaced too, as its sweep is published anew.

    Raises:
        UsageError: ``path`` holds something that is no record, which is not overwritten.
    """
    if path.exists():
        _of_any_format(path)
    write_text(path, as_text(record))


def _of_any_format(path: Path) -> Publication:
    record = read_json(path)
    kind = record.get("kind") if isinstance(record, dict) else None
    if kind != KIND:
        raise UsageError(
            f"{path} is no record of a published sweep (kind {kind!r}, expected {KIND!r}); "
            "make one with `thinwire publish FOLDER --record FILE.json`"
        )
    found: Publication = record
    return found


def as_text(record: Publication) -> str:
    """A record as JSON, with a line for each row and each entry of a group."""
    entries = (f"  {json.dumps(name)}: {_group(value)}" for name, value in record.items())
    return "{\n" + ",\n".join(entries) + "\n}\n"


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


def _chosen(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _form(collapse: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return {"finding": collapse["finding"], **_chosen(collapse["figures"], _FORM)} if collapse else None


def _seconds(started_at: str, finished_at: str | None) -> float | None:
    if finished_at is None:  # interrupted after its last training
        return None
    started, finished = (datetime.fromisoformat(time.replace("Z", "+00:00")) for time in (started_at, finished_at))
    return (finished - started).total_seconds()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value
