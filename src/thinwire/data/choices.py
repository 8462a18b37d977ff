"""The options of a multiple-choice question, and which of them a gold answer means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from thinwire.data.values import answer_text, present, refusal
from thinwire.errors import UsageError, shown
from thinwire.inputs import json_kind, text_fault

_MOST = len(ascii_uppercase)
_EXPECTED = "the text of a choice, its index from 0 as an integer, or its letter (A, B, ...)"


def listed(choices: Sequence[str]) -> str:
    """Return the options as they stand in a prompt, one a line: ``A. first``; more than 26 have no letters."""
    if len(choices) > _MOST:
        return "\n".join(choices)
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False))


def read_choices(fields: Mapping[str, Any], source: str, place: str) -> tuple[str, ...]:
    """Read the field ``choices`` of a question.

    Raises:
        UsageError: it is no list of 2 to 26 texts or numbers, or one is blank.
    """
    found = present(fields, "choices", source, place)
    if not isinstance(found, list):
        raise refusal(source, f"{place}, choices", json_kind(found), "a list of texts (in a cell of a CSV, as JSON)")
    if not 2 <= len(found) <= _MOST:
        raise refusal(source, f"{place}, choices", f"{len(found)}", f"2 to {_MOST}")
    choices = []
    for number, one in enumerate(found):
        text = answer_text(one)
        fault = json_kind(one) if text is None else text_fault(text)
        if text is None or fault:
            raise refusal(source, f"{place}, choices[{number}]", str(fault), "a text")
        choices.append(text.strip())
    return tuple(choices)


def gold_of_cell(cell: Any) -> Any:
    """Return the gold answer in a cell of a table whose cells are all texts: digits are an index."""
    return int(cell) if isinstance(cell, str) and re.fullmatch(r"\d{1,2}", cell, re.ASCII) else cell


def chosen(gold: Any, choices: Sequence[str], source: str, place: str) -> str:
    """Return the text of the option that a gold answer means.

    Raises:
        UsageError: it means none, or could mean several.
    """
    meant = set()
    written = answer_text(gold)
    if written is not None and written.strip() in choices:
        meant.add(written.strip())
    if isinstance(gold, int) and not isinstance(gold, bool) and 0 <= gold < len(choices):
        meant.add(choices[gold])
    if isinstance(gold, str) and len(gold) == 1 and gold in ascii_uppercase[: len(choices)]:
        meant.add(choices[ascii_uppercase.index(gold)])
    if len(meant) == 1:
        return meant.pop()
    found = json_kind(gold) if written is None else shown(written, 40)
    if not meant:
        raise refusal(source, place, found, f"{_EXPECTED} of {shown(', '.join(choices), 120)}")
    raise UsageError(
        f"{source}, {place}: {found} is the text of a choice and the index or letter of another; write the letter or "
        "index of the one that is meant, or choices that are no such"
    )
