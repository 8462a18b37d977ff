"""JSON in which nothing is ambiguous: no key twice in an object, no number that is NaN, infinite or beyond a float."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from thinwire.errors import shown


class NotStrictError(ValueError):
    """A JSON text that parsers would accept and read differently."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise NotStrictError(f"the key {shown(twice)} stands twice in one object; take one out")
    return found


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise NotStrictError(f"{shown(digits)} is beyond all numbers that can be computed with; write a smaller one")
    return value


class WrittenFloat(float):
    """A number with a fraction or an exponent, and the text that it was written as."""

    def __new__(cls, digits: str) -> WrittenFloat:
        made = super().__new__(cls, _finite(digits))
        made.written = digits
        return made

    written: str
    """``0.50``, where the number alone would be written 0.5."""


def _no_number(text: str) -> Any:
    raise NotStrictError(f"{text} is no JSON; write null or a number")


DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_number)
"""Raises ``json.JSONDecodeError``, ``NotStrictError``, ``RecursionError``, or another ``ValueError`` for an integer of
thousands of digits."""

PYTHON_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
"""As ``DECODER``, but takes the NaN and Infinity that Python's own ``json`` writes: for files of tools that leave such
numbers in places that are not read. Whoever reads a number with it must check that it is finite."""

WRITTEN_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=WrittenFloat, parse_constant=_no_number)
"""As ``DECODER``, for data whose numbers may stand for their texts: floats are ``WrittenFloat``."""
