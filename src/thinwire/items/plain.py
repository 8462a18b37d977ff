"""Read plain JSON Lines and CSV files: each row an item with id and score, and cluster and seed if there are any."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from thinwire.errors import UsageError, all_shown, shown
from thinwire.items.item_scores import Choice, FileScores, ScoredItem, collected, named, number
from thinwire.items.json_lines import json_lines
from thinwire.row_files import table_rows

ID, SCORE, CLUSTER, SEED = "id", "score", "cluster", "seed"
"""Columns, of which the last two may be missing."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


class _Columns(NamedTuple):
    score: str
    cluster: str | None
    has_seed: bool


_Parse = Callable[[Any], Any]
"""From what a file holds in a place to a number, if it is one."""


def read_plain_lines(path: Path, choice: Choice) -> FileScores:
    """Read a JSON Lines file of objects with ``id`` and ``score``.

    Raises:
        UsageError: it cannot be read, or a row lacks an entry or has one of another kind.
    """
    rows = ((line.place, line.fields) for line in json_lines(path, "file of scores"))
    return _read(rows, path, choice, lambda value: value)


def read_csv(path: Path, choice: Choice) -> FileScores:
    """Read a CSV file, separated by commas, whose first line names the columns ``id`` and ``score``.

    Raises:
        UsageError: it cannot be read, a column is missing or comes twice, or a row has another number of columns.
    """
    return _read(_csv_rows(path), path, choice, _number_in_text)


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for place, cells in table_rows(path, "file of scores", ",", _refuse_twice):
        yield f"{path}, {place}", {name.strip(): cell.strip() for name, cell in cells.items()}


def _refuse_twice(names: list[str], place: str) -> None:
    stripped = [name.strip() for name in names]
    if twice := [name for name in stripped if stripped.count(name) > 1]:
        raise UsageError(f"{place}: the column {shown(twice[0])} comes twice; name each column once")


def _number_in_text(cell: str) -> float | str:
    return float(cell) if _NUMBER.fullmatch(cell) else cell


def _read(rows: Iterable[tuple[str, Mapping[str, Any]]], path: Path, choice: Choice, parse: _Parse) -> FileScores:
    if choice.task is not None:
        raise UsageError(f"{path} has no tasks; --task is for folders of lm-eval")
    columns: _Columns | None = None
    items = []
    for place, row in rows:
        columns = columns or _columns(row, path, choice, parse)
        items.append(_item(row, columns, place, parse))
    if columns is None:
        raise UsageError(f"{path} holds no item; expected {ID} and {SCORE} for each")
    return FileScores(items=collected(items, str(path)), tool="plain", metric=columns.score)


def _columns(row: Mapping[str, Any], path: Path, choice: Choice, parse: _Parse) -> _Columns:
    """Find the columns in the first row."""
    score, there = choice.metric or SCORE, all_shown(row)
    if ID not in row:
        raise UsageError(f"{path} has no column {ID!r}; its columns are {there}; expected {ID}, {score}")
    if score not in row:
        numbers = [name for name, value in row.items() if isinstance(parse(value), int | float)]
        others = [name for name in numbers if name not in (ID, CLUSTER, SEED)]
        remedy = f"choose the score with --metric: {all_shown(others)}" if others else "add it"
        raise UsageError(f"{path} has no column {shown(score)}; its columns are {there}; {remedy}")
    if choice.cluster is not None and choice.cluster not in row:
        raise UsageError(f"{path} has no column {shown(choice.cluster)} (--cluster); its columns are {there}")
    return _Columns(score, choice.cluster or (CLUSTER if CLUSTER in row else None), SEED in row)


def _item(row: Mapping[str, Any], columns: _Columns, place: str, parse: _Parse) -> ScoredItem:
    cluster, names = columns.cluster, (ID, columns.score, columns.cluster, SEED if columns.has_seed else None)
    if missing := [name for name in names if name is not None and name not in row]:
        raise UsageError(f"{place}: no {shown(missing[0])}, which the rows before have")
    if SEED in row and not columns.has_seed:
        raise UsageError(f"{place}: a seed, which the rows before lack; give every row one")
    if CLUSTER in row and cluster is None:
        raise UsageError(f"{place}: a cluster, which the rows before lack; give every row one")
    return ScoredItem(
        id=named(row[ID], ID, place),
        score=number(parse(row[columns.score]), columns.score, place),
        place=place.rpartition(", ")[2],
        cluster=None if cluster is None else named(row[cluster], cluster, place),
        run=named(row[SEED], SEED, place) if columns.has_seed else "",
    )
