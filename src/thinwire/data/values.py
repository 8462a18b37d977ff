"""Read single values of a question strictly: texts, and numbers that stand for a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thinwire.data.squad_json import FORMS
from thinwire.errors import UsageError, all_shown
from thinwire.inputs import json_kind, text_fault
from thinwire.schema import nearest
from thinwire.strict_json import WrittenFloat


def refusal(source: str, place: str, found: str, expected: str) -> UsageError:
    """Make the error about a value that is not what is expected."""
    return UsageError(f"{source}, {place}: found {found}, expected {expected}")


def present(fields: Mapping[str, Any], name: str, source: str, place: str) -> Any:
    """Return the value of a field that must be there."""
    if name not in fields:
        raise UsageError(
            f"{source}, {place}: no field {name!r}{nearest(name, map(str, fields))}; there are: "
            f"{all_shown(fields)}; expected: {FORMS}"
        )
    return fields[name]


def text(fields: Mapping[str, Any], name: str, source: str, place: str) -> str:
    """Return a field that must be a text."""
    value = present(fields, name, source, place)
    fault = text_fault(value) if isinstance(value, str) else json_kind(value)
    if fault:
        raise refusal(source, f"{place}, {name}", fault, "a text")
    return str(value)


def label(fields: Mapping[str, Any], name: str, source: str, place: str) -> str:
    """Return a field that names something: a text, or a whole number, which stands for its digits."""
    value = present(fields, name, source, place)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    fault = text_fault(value) if isinstance(value, str) else json_kind(value)
    if fault:
        raise refusal(source, f"{place}, {name}", fault, "a text or a whole number")
    return str(value)


def answer_text(value: Any) -> str | None:
    """Return the text of an answer, or None if it is no answer.

    A whole number stands for its digits, another number of a JSON text for what was written: 0.50 is not 0.5. Numbers
    of tables that do not keep that (Parquet) are none.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, WrittenFloat):
        return value.written
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
