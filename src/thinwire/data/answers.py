"""Read a question's gold answers, and hold them to its context."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from thinwire.data.choices import chosen
from thinwire.data.values import answer_text, present, refusal
from thinwire.errors import UsageError, shown
from thinwire.inputs import json_kind, text_fault

_EXPECTED = "a text, a number, a list of them or SQuAD's form (docs/guide/data.md)"


class Answers(NamedTuple):
    """Gold answers, with the offsets that the source gives them."""

    texts: tuple[str, ...]
    starts: tuple[int | None, ...]


def read_answers(fields: Mapping[str, Any], source: str, place: str, choices: Sequence[str] = ()) -> Answers:
    """Read the field ``answers`` of a question; it has none where that is an empty list.

    Args:
        choices: of a multiple-choice question; answers that mean one by its index or letter become its text.

    Raises:
        UsageError: it is no text, number, list of them, list of objects or SQuAD's parallel lists; a text is blank, no
            choice, or an offset is none; or the question is marked as impossible to answer.
    """
    found, at = present(fields, "answers", source, place), f"{place}, answers"
    texts: Any
    starts: Any
    if isinstance(found, dict):  # Hugging Face's form: parallel lists
        texts = present(found, "text", source, at)
        starts = [] if found.get("answer_start") is None else found["answer_start"]
        if not isinstance(texts, list) or not isinstance(starts, list):
            wrong = "text" if not isinstance(texts, list) else "answer_start"
            raise refusal(source, f"{at}.{wrong}", json_kind(found[wrong]), "a list")
        if starts and len(starts) != len(texts):
            raise UsageError(f"{source}, {at}: {len(texts)} text, but {len(starts)} answer_start; one for each")
        starts = starts or [None] * len(texts)
    elif isinstance(found, list):  # texts, or the official form: a list of objects
        texts = [present(one, "text", source, at) if isinstance(one, dict) else one for one in found]
        starts = [one.get("answer_start") if isinstance(one, dict) else None for one in found]
    elif answer_text(found) is not None:
        texts, starts = [found], [None]
    else:
        raise refusal(source, at, _kind(found), f"{_EXPECTED}; [] where there is none")
    golds = []
    for number, (one, start) in enumerate(zip(texts, starts, strict=True)):
        text = chosen(one, choices, source, f"{at}[{number}]") if choices else answer_text(one)
        fault = _kind(one) if text is None else text_fault(text)
        if text is None or fault:
            raise refusal(source, f"{at}[{number}]", str(fault), "the answer's text; [] where there is none")
        if start is not None and (not isinstance(start, int) or isinstance(start, bool) or start < 0):
            where = f"{at}[{number}], answer_start"
            raise refusal(source, where, json_kind(start), "an offset in characters, 0 or more")
        golds.append(text)
    if golds and _is_true(fields.get("is_impossible"), source, place):
        raise UsageError(f"{source}, {place}: is_impossible is true, but there are answers; correct one of them")
    return Answers(tuple(golds), tuple(starts))


def mismatch(answers: Answers, context: str) -> str | None:
    """Say which answer is not where it should be: an offset that does not point at it, or no offset and the first
    answer, which training uses, nowhere in the context."""
    for number, (text, start) in enumerate(zip(answers.texts, answers.starts, strict=True)):
        if start is not None and not context.startswith(text, start):
            there = context[start : start + len(text)]
            return f"answer_start {start} of the answer {shown(text, 40)} points at {shown(there, 40)}"
        if start is None and number == 0 and text not in context:
            is_other_form = unicodedata.normalize("NFC", text) in unicodedata.normalize("NFC", context)
            why = ", except in another Unicode form (NFC, NFD): bring both to NFC" if is_other_form else ""
            return f"the answer {shown(text, 40)} is not in the context{why}"
    return None


def _kind(value: Any) -> str:
    """Name the kind of a value that is no answer, and why a number is none."""
    written = ", of which it is not known how it was written: make the column text" if isinstance(value, float) else ""
    return f"{json_kind(value)}{written}"


def _is_true(value: Any, source: str, place: str) -> bool:
    """Return whether ``is_impossible`` is true; all cells of a CSV are texts.

    Raises:
        UsageError: it is neither true nor false.
    """
    text = value.strip().casefold() if isinstance(value, str) else value
    if text in (None, "", False, "false"):
        return False
    if text is not True and text != "true":
        raise refusal(source, f"{place}, is_impossible", shown(value), "true or false")
    return True
