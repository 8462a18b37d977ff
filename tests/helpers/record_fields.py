"""Compute a number from a record, in the unit in which pages show it.

An expression is a field, by the dotted names of row and field (``baseline.em``); a field with a minus sign before it;
the difference or ratio of two fields (``r16 - baseline``); what a share lacks to one (``1 - covered``); or the
``min(...)`` or ``max(...)`` of several. A row by itself is its F1, and what has an interval is its estimate. Elements
of lists are chosen by their ``name`` or number.
"""

import re
from typing import Any

_SHARES = (
    *("f1", "score", "em", "raw_score", "selection_score", "score_difference", "em_difference", "share_of_ceiling"),
    *("gain", "reference_gain", "difference"),  # of an interaction
    *("nearest_row_accuracy", "written", "distinct_share", "top_first_word_share", "run_on_share"),
    *("share", "predicted", "covered", "refused", "false_no_help", "false_claims"),  # of the benchmarks
    "limit_of_a_true_5_percent",
    *("median_half_width", "narrowest_half_width", "widest_half_width"),
    *("found", "threshold", "threshold_of_fixed_limits"),
)
_BYTES = ("matrix_bytes", *(f"matrix_bytes_{part}" for part in ("original", "codes", "adapter", "codec", "total")))
UNITS = dict.fromkeys(_SHARES, 100.0) | dict.fromkeys(_BYTES, 1e-6) | {"p_adjusted": 1.0}
"""By the last of these names in a path, what a record's number is multiplied with: shares are shown in points or
percent, bytes in MB, all others as they are."""

_FIELD = r"\w[\w.-]*"
EXPRESSION = (
    rf"(?P<sign>-?)(?P<left>{_FIELD})(?: (?P<operator>[-/]) (?P<right>{_FIELD}))?"
    rf"|(?P<extreme>min|max)\((?P<of>{_FIELD}(?:, {_FIELD})+)\)"
)


class SourceError(Exception):
    """An expression that cannot be read, or that names something which the record does not have."""


def field(record: Any, path: str) -> Any:
    """Look up a dotted path in a record; the first name may be a row's.

    Raises:
        SourceError: The record has nothing there.
    """
    found = record
    if isinstance(record, dict):
        found = {**record, **{row["name"]: row for row in record.get("rows", ()) if "name" in row}}
    left = path.split(".")
    while left:
        if isinstance(found, list):
            found = {str(number): one for number, one in enumerate(found)} | {
                one["name"]: one for one in found if isinstance(one, dict) and "name" in one
            }
        heads = [".".join(left[:length]) for length in range(1, len(left) + 1)]  # a name may hold dots: `found.0.5`
        head = next((one for one in heads if isinstance(found, dict) and one in found), None)
        if head is None:
            raise SourceError(f"the record has no {left[0]!r} at {path}")
        found = found[head]
        left = left[head.count(".") + 1 :]
    return found


def unit(path: str) -> float:
    """Return what the number at a path is multiplied with before it is shown."""
    return next((UNITS[name] for name in reversed(path.split(".")) if name in UNITS), 1.0)


def number_at(record: Any, path: str) -> float:
    """Return the number at a path, in the unit in which it is shown.

    Raises:
        SourceError: No number is there.
    """
    found = field(record, path)
    if isinstance(found, dict):
        for name in ("score", "f1", "difference", "estimate"):
            if name in found:
                return number_at(record, f"{path}.{name}")
        if "value" in found:  # a codec's metric
            return found["value"] * (100.0 if found["unit"] == "share" else 1.0)
    if not isinstance(found, int | float):
        raise SourceError(f"the record has no number at {path}")
    return found * unit(path)


def evaluate(record: Any, expression: str, *, percent: bool = False) -> float:
    """Compute an expression; a ratio is in percent where ``percent`` says so.

    Raises:
        SourceError: It is no expression, or the record lacks what it names.
    """
    parts = re.fullmatch(EXPRESSION, expression)
    if parts is None:
        raise SourceError(f"{expression!r} is no field, and no difference, ratio, min or max of fields")
    if parts["extreme"]:
        numbers = [number_at(record, path) for path in parts["of"].split(", ")]
        return min(numbers) if parts["extreme"] == "min" else max(numbers)
    left, right = parts["left"], parts["right"]
    value = unit(right) if right and left == "1" else number_at(record, left)
    if parts["operator"] == "-":
        value -= number_at(record, right)
    elif parts["operator"] == "/":
        value *= (100.0 if percent else 1.0) / number_at(record, right)
    return -value if parts["sign"] else value
