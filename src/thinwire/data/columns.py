"""Find the fields of a question in a row of a table, by the columns that ``data.columns`` names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from thinwire.config.settings import ColumnsConfig
from thinwire.errors import UsageError, all_shown, shown
from thinwire.schema import nearest

_MISSING = object()
_OPTIONAL = {"id": "id", "title": "title"}
"""Fields that a table need not have, with the column for which that holds: one that was named must be there."""
_ANSWERS = ("answers", "answer")
"""Columns of gold answers, where none is named."""


def fields_of(row: Mapping[str, Any], columns: ColumnsConfig, place: str) -> dict[str, Any]:
    """Return the values of a row by the names of a question's fields; ``id`` and ``title`` may be missing, and fields
    without a column are.

    Args:
        place: the row's source and place in it, for messages.

    Raises:
        UsageError: a column that must be there is not, or it is not clear which one holds the answers.
    """
    found = {"is_impossible": row["is_impossible"]} if "is_impossible" in row else {}
    for field, column in columns:
        name = _answers_column(row, place) if field == "answers" and column is None else column
        if name is None:
            continue
        value = _value_at(row, name)
        if value is not _MISSING:
            found[field] = value
        elif _OPTIONAL.get(field) != name:
            raise _missing(field, name, row, place)
    return found


def column_names(columns: ColumnsConfig) -> set[str]:
    """Return all names that columns with fields may have in a table."""
    named = {column for _, column in columns if column is not None} | {*_ANSWERS, "is_impossible"}
    return named | {column.partition(".")[0] for column in named}


def check_columns(names: Sequence[str], columns: ColumnsConfig, source: str) -> list[str]:
    """Refuse a table that lacks a column, before its rows are read.

    Returns:
        The names of the columns that hold fields, in their order: others need not be read.

    Raises:
        UsageError: as ``fields_of``, or a column that holds a field is there twice.
    """
    wanted = {"is_impossible"}
    for field, column in columns:
        name = _answers_column(names, source) if field == "answers" and column is None else column
        if name is None:
            continue
        holder = name if name in names else name.partition(".")[0]
        if holder not in names and _OPTIONAL.get(field) != name:
            raise _missing(field, name, names, source)
        wanted.add(holder)
    used = [name for name in names if name in wanted]
    if twice := sorted({name for name in used if used.count(name) > 1}):
        raise UsageError(f"{source}: the column {shown(twice[0])} is there twice; rename one")
    return used


def _answers_column(names: Iterable[str], place: str) -> str:
    """Return ``answers`` or ``answer``, whichever is there; the first where neither is."""
    there = [name for name in _ANSWERS if name in names]
    if len(there) > 1:
        raise UsageError(
            f"{place}: there are both 'answers' and 'answer'; name the column of gold answers: "
            "data.columns.answers=answers (evaluate, score: --columns answers=answers), or answer"
        )
    return (there or _ANSWERS)[0]


def _value_at(row: Mapping[str, Any], column: str) -> Any:
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _missing(field: str, column: str, names: Iterable[str], place: str) -> UsageError:
    there = list(names)
    is_default = column in (field, _OPTIONAL.get(field))
    similar = nearest(column, there)
    found = f"no field {column!r}{similar}"
    if not is_default:
        found = f"no column {column!r}{similar}, which data.columns.{field} names"
    none = ", null where there is none" if field in ("context", "question") else ""
    return UsageError(
        f"{place}: {found}; there are: {all_shown(there)}{_other_separator(there)}; name the column: "
        f"data.columns.{field}=COLUMN (evaluate, score: --columns {field}=COLUMN){none}"
    )


def _other_separator(names: Sequence[str]) -> str:
    """Say that a table's only column looks like several."""
    if len(names) == 1 and (found := [one for one in ";,\t|" if one in names[0]]):
        return f" (one column: is {found[0]!r} what separates them? a .csv has commas, a .tsv tabs)"
    return ""
