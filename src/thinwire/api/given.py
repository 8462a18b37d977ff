"""Check what a program gave to ``thinwire.api``: a wrong type is one message at once, and no error deep inside."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from numbers import Integral
from pathlib import Path

from thinwire.errors import UsageError, shown
from thinwire.inputs import check_path


def path_of(value: object, what: str) -> Path:
    """Return a path that was given as a text or a ``Path``.

    Raises:
        UsageError: it is something else, or no file system can have it.
    """
    plain = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(plain, str):
        raise UsageError(f"the {what} is a path, as a text or a Path, got {shown(value)}")
    return check_path(plain, what)


def names_of(value: object, what: str, example: str) -> tuple[str, ...]:
    """Return a collection of names as a tuple; a text is no collection of them.

    Raises:
        UsageError: it is something else.
    """
    names = None if isinstance(value, str | bytes) or not isinstance(value, Iterable) else tuple(value)
    if names is None or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{what} takes a list of names, such as [{example!r}], got {shown(value)}")
    return names


def texts_of(value: object) -> list[str]:
    """Return texts as a list.

    Raises:
        UsageError: it is a single text, or holds something that is no text.
    """
    if isinstance(value, str):
        raise UsageError(f"a list of texts is expected, got the text {shown(value)}; put it into a list")
    if not isinstance(value, Iterable):
        raise UsageError(f"a list of texts is expected, got {shown(value)}")
    texts = list(value)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(f"a list of texts is expected, got {shown(text)} as text {number}")
    return texts


def pairs_of(value: object) -> list[tuple[str, str]]:
    """Return questions, pairs of a context and a question, as a list.

    Raises:
        UsageError: it is something else, such as one pair that is in no list.
    """
    expected = 'a list of pairs of texts is expected, such as [("the context", "the question")]'
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise UsageError(f"{expected}, got {shown(value)}")
    pairs = []
    for number, pair in enumerate(value):
        is_pair = isinstance(pair, Sequence) and not isinstance(pair, str | bytes) and len(pair) == 2
        if not is_pair or not all(isinstance(text, str) for text in pair):
            raise UsageError(f"{expected}, got {shown(pair)} as question {number}")
        pairs.append((pair[0], pair[1]))
    return pairs


def count_of(value: object, what: str) -> int:
    """Return a number of things, of Python's or NumPy's whole numbers.

    Raises:
        UsageError: it is something else, or below 1.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise UsageError(f"{what} is {shown(value)}, expected 1 or more, a whole number")
    return int(value)
