"""Read the articles of a SQuAD-format JSON file, or the objects of a JSON list, one after the other.

So no file has to fit the memory.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import Any, BinaryIO

from thinwire.errors import UsageError, shown
from thinwire.inputs import json_complaint, json_kind, not_utf8, opened
from thinwire.strict_json import WRITTEN_DECODER

FORMS = (
    'in a .json {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]} (SQuAD), or '
    "rows with context, question and answers in a .json list, .jsonl, .csv, .tsv or .parquet"
)
"""The forms of a data file, in words."""

_BLOCK = 1 << 20
_SPACE = " \t\r\n"


def holds_list(path: Path) -> bool:
    """Return whether the value in a JSON file is a list, by its first character.

    Raises:
        UsageError: the file cannot be read.
    """
    with opened(path, "data file") as file:
        return _Text(file, path).next() == "["


def articles_or_rows(file: BinaryIO, path: Path) -> tuple[bool, Iterator[Any]]:
    """Read the elements of the list ``data`` of a JSON object, or of a JSON list; each is decoded when it is asked for.

    Args:
        file: at the beginning of the JSON text.
        path: its name, for messages.

    Returns:
        Whether they are those of a list, and the elements, which may raise the same errors.

    Raises:
        UsageError: it is no strict JSON or no such object.
    """
    text = _Text(file, path)
    return (True, _rows(text)) if text.next() == "[" else (False, _articles(text, path))


def _rows(text: _Text) -> Iterator[Any]:
    yield from _elements(text)
    if text.next():
        raise text.fault(f"more text after the end of the list; expected: {FORMS}")


def _articles(text: _Text, path: Path) -> Iterator[Any]:
    text.expect("{", "an object or a list of objects")
    keys: list[str] = []
    while text.next() != "}":
        if keys:
            text.expect(",", "',' or '}'")
        key = text.value()
        if not isinstance(key, str):
            raise text.fault(f"found {json_kind(key)}, expected a key")
        if key in keys:
            raise text.fault(f"the key {shown(key)} stands twice in one object; take one out")
        keys.append(key)
        text.expect(":", "':'")
        if key == "data":
            yield from _elements(text)
        else:
            text.value()
    text.expect("}", "'}'")
    if "data" not in keys:
        raise UsageError(f"{path}: no key 'data', only {shown(', '.join(keys[:5]))}; expected: {FORMS}")
    if text.next():
        raise text.fault(f"more text after the end of the object; expected: {FORMS}")


def _elements(text: _Text) -> Iterator[Any]:
    if text.next() != "[":
        raise text.fault(f"data: found {json_kind(text.value())}, expected a list of articles")
    text.expect("[", "'['")
    is_first = True
    while text.next() != "]":
        if not is_first:
            text.expect(",", "',' or ']'")
        is_first = False
        yield text.value()
    text.expect("]", "']'")


class _Text:
    """A JSON text of which a part is in memory: what has been read from the file and not been decoded."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._part, self._at = "", 0
        self._lines_before = 0
        self._is_over = False

    def next(self) -> str:
        """Return the next character that is no space, without taking it; empty at the end."""
        while True:
            while self._at < len(self._part) and self._part[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._part):
                return self._part[self._at]
            if self._is_over:
                return ""
            self._read()

    def expect(self, character: str, expected: str) -> None:
        """Take ``character``."""
        if (found := self.next()) != character:
            what = f"found {shown(self._part[self._at : self._at + 20])}" if found else "the file ends"
            raise self.fault(f"no JSON ({what}, expected {expected}); the file may be cut")
        self._at += 1

    def value(self) -> Any:
        """Take a whole value."""
        if not self.next():
            raise self.fault("no JSON (the file ends, expected a value); the file may be cut")
        while True:
            try:
                value, end = WRITTEN_DECODER.raw_decode(self._part, self._at)
            except JSONDecodeError as error:
                if self._is_over:
                    raise self._fault_at(error.pos, json_complaint(error)) from None
            except (ValueError, RecursionError) as error:
                raise self.fault(json_complaint(error)) from None
            else:
                if end < len(self._part) or self._is_over:  # a number could go on in the next part
                    self._at = end
                    return value
            self._read()

    def fault(self, complaint: str) -> UsageError:
        """Return an error that names the file and the line."""
        return self._fault_at(self._at, complaint)

    def _fault_at(self, position: int, complaint: str) -> UsageError:
        line = self._lines_before + self._part.count("\n", 0, position) + 1
        return UsageError(f"{self._path}, line {line}: {complaint}")

    def _read(self) -> None:
        """Read as much again as is in memory, so that a long value is not tried too often."""
        self._lines_before += self._part.count("\n", 0, self._at)
        self._part, self._at = self._part[self._at :], 0
        block = self._file.read(max(_BLOCK, len(self._part)))
        self._is_over = not block
        try:
            self._part += self._decoder.decode(block, final=self._is_over)
        except UnicodeDecodeError as error:
            before = self._lines_before + self._part.count("\n") + error.object.count(b"\n", 0, error.start)
            raise UsageError(f"{self._path}, line {before + 1}: {not_utf8(error)}") from None
