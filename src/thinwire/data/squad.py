"""Questions with a context and gold answers, from SQuAD-format JSON or flat rows.

Every row is checked when it is read: what is not known to be right is refused, with its place, what was found and what
is expected.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from thinwire.data.squad_json import FORMS, articles
from thinwire.errors import UsageError, shown
from thinwire.inputs import json_kind, not_utf8, opened, parse_json, text_fault
from thinwire.schema import nearest

Unanswerable = Literal["refuse", "drop"]
Mismatched = Literal["refuse", "drop", "keep"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One question about one paragraph."""

    id: str
    article: str
    """Title of the article; the paragraph's id if the source has no titles."""
    paragraph_id: str
    """The same for all questions about one paragraph, which are not independent."""
    context: str
    question: str
    answers: tuple[str, ...]
    """Gold answers, at least one, in the source's order."""
    answer_start: int
    """Character offset of the first answer in ``context``; -1 if it does not occur there literally."""


def read_examples(
    path: Path, unanswerable: Unanswerable = "refuse", mismatched: Mismatched = "refuse"
) -> list[Example]:
    """Read a SQuAD-format ``.json`` (v1.1 or v2.0) or a flat ``.jsonl``, article by article or line by line.

    A flat line has ``id``, ``context``, ``question`` and ``answers`` (texts, or SQuAD's ``text`` and ``answer_start``
    lists), and may have ``title``; other fields are ignored. Contexts that are equal are kept once.

    Raises:
        UsageError: the file cannot be read, a row is not of the format, or there are unanswerable or mismatched
            questions to be refused.
    """
    with opened(path, "data file") as file:
        rows = _flat_lines(file, path) if path.suffix.lower() == ".jsonl" else _flattened(articles(file, path), path)
        return _examples(rows, str(path), unanswerable, mismatched)


def from_rows(
    rows: Iterable[Mapping[str, Any]], *, source: str, unanswerable: Unanswerable, mismatched: Mismatched = "refuse"
) -> list[Example]:
    """Make examples of flat rows; ``source`` names them in messages, where rows count from 0.

    Raises:
        UsageError: as ``read_examples``.
    """
    numbered = (_flat_row(f"row {number}", row, source) for number, row in enumerate(rows))
    return _examples(numbered, source, unanswerable, mismatched)


class _Row(NamedTuple):
    """A question as it was found."""

    place: str
    """Where it was found in its source."""
    fields: Mapping[str, Any]
    context: str
    title: str | None
    paragraph: str | None
    """Id of its paragraph; None where the source is not divided into paragraphs."""


class _Answers(NamedTuple):
    """Gold answers, with the offsets that the source gives them."""

    texts: tuple[str, ...]
    starts: tuple[int | None, ...]


def _flat_lines(file: BinaryIO, path: Path) -> Iterator[_Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}, {place}: {not_utf8(error)}") from None
        fields = parse_json(text, f"{path}, {place}")
        if not isinstance(fields, dict):
            raise _refusal(str(path), place, json_kind(fields), f"an object: {FORMS}")
        if "data" in fields and "context" not in fields:
            raise UsageError(f"{path}, {place}: a whole SQuAD document in one line; name the file .json")
        yield _flat_row(place, fields, str(path))


def _flat_row(place: str, fields: Mapping[str, Any], source: str) -> _Row:
    context = _text(fields, "context", source, place)
    return _Row(place, fields, context, _title(fields, source, place), paragraph=None)


def _flattened(found: Iterable[Any], path: Path) -> Iterator[_Row]:
    num_paragraphs: Counter[str] = Counter()
    for number, article in enumerate(found):
        at = f"data[{number}]"
        if not isinstance(article, dict):
            raise _refusal(str(path), at, json_kind(article), "an article, an object with title and paragraphs")
        title = _title(article, str(path), at) or f"article {number}"
        for inner, paragraph in _list_of_objects(article, "paragraphs", str(path), at):
            # Counted by title: two articles of one title must not share paragraph ids.
            paragraph_id = f"{title}/{num_paragraphs[title]}"
            num_paragraphs[title] += 1
            context = _text(paragraph, "context", str(path), inner)
            for place, qa in _list_of_objects(paragraph, "qas", str(path), inner):
                yield _Row(place, qa, context, title, paragraph_id)


def _list_of_objects(
    holder: Mapping[str, Any], field: str, source: str, place: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a list with their places."""
    values = _present(holder, field, source, place)
    if not isinstance(values, list):
        raise _refusal(source, f"{place}.{field}", json_kind(values), "a list")
    for number, value in enumerate(values):
        at = f"{place}.{field}[{number}]"
        if not isinstance(value, dict):
            raise _refusal(source, at, json_kind(value), "an object")
        yield at, value


def _examples(rows: Iterable[_Row], source: str, unanswerable: Unanswerable, mismatched: Mismatched) -> list[Example]:
    examples: list[Example] = []
    paragraphs: dict[str, tuple[str, str]] = {}  # by context: one copy of it, and its id
    ids: set[str] = set()
    num_without_answer, mismatches, first_mismatch = 0, 0, ""
    for row in rows:
        id_ = _text(row.fields, "id", source, row.place)
        question = _text(row.fields, "question", source, row.place)
        answers = _answers(row, source)
        if not answers.texts:
            num_without_answer += 1
            continue
        if id_ in ids:
            raise UsageError(f"{source} holds the question id {shown(id_)} twice ({row.place}); ids must be unique")
        ids.add(id_)
        context, paragraph = row.context, row.paragraph
        if paragraph is None:
            context, paragraph = paragraphs.setdefault(context, (context, f"p{len(paragraphs)}"))
        if mismatched != "keep" and (fault := _mismatch(answers, context)):
            mismatches += 1
            first_mismatch = first_mismatch or f"{row.place}: {fault}"
            continue
        start = answers.starts[0]
        examples.append(
            Example(
                id=id_,
                article=row.title or paragraph,
                paragraph_id=paragraph,
                context=context,
                question=question.strip(),
                answers=answers.texts,
                answer_start=context.find(answers.texts[0]) if start is None else start,
            )
        )
    if num_without_answer and unanswerable == "refuse":
        raise UsageError(
            f"{source} holds {num_without_answer} unanswerable questions, which SQuAD v1.1's metric cannot score; "
            "set data.unanswerable=drop (evaluate, score: --unanswerable drop) to leave them out"
        )
    if mismatches and mismatched == "refuse":
        raise UsageError(
            f"{source} holds {mismatches} questions whose answers are not where they should be in the context, first "
            f"{first_mismatch}; correct them, or set data.mismatched=drop (evaluate, score: --mismatched drop) to "
            "leave them out, or keep for answers in other words"
        )
    if not examples:
        raise UsageError(f"{source} holds no question with an answer")
    return examples


def _mismatch(answers: _Answers, context: str) -> str | None:
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


def _answers(row: _Row, source: str) -> _Answers:
    found, place = _present(row.fields, "answers", source, row.place), f"{row.place}, answers"
    texts: Any
    starts: Any
    if isinstance(found, str):
        texts, starts = [found], [None]
    elif isinstance(found, dict):  # Hugging Face's form: parallel lists
        texts = _present(found, "text", source, place)
        starts = [] if found.get("answer_start") is None else found["answer_start"]
        if not isinstance(texts, list) or not isinstance(starts, list):
            wrong = "text" if not isinstance(texts, list) else "answer_start"
            raise _refusal(source, f"{place}.{wrong}", json_kind(found[wrong]), "a list")
        if starts and len(starts) != len(texts):
            raise UsageError(f"{source}, {place}: {len(texts)} text, but {len(starts)} answer_start; one for each")
        starts = starts or [None] * len(texts)
    elif isinstance(found, list):  # texts, or the official form: a list of objects
        texts = [_present(one, "text", source, place) if isinstance(one, dict) else one for one in found]
        starts = [one.get("answer_start") if isinstance(one, dict) else None for one in found]
    else:
        raise _refusal(source, place, json_kind(found), "a text, a list of texts or SQuAD's form (docs/guide/data.md)")
    for number, (text, start) in enumerate(zip(texts, starts, strict=True)):
        fault = text_fault(text) if isinstance(text, str) else json_kind(text)
        if fault:
            raise _refusal(source, f"{place}[{number}]", fault, "the answer's text; [] where there is none")
        if start is not None and (not isinstance(start, int) or isinstance(start, bool) or start < 0):
            at = f"{place}[{number}], answer_start"
            raise _refusal(source, at, json_kind(start), "an offset in characters, 0 or more")
    if texts and row.fields.get("is_impossible") is True:
        raise UsageError(f"{source}, {row.place}: is_impossible is true, but there are answers; correct one of them")
    return _Answers(tuple(texts), tuple(starts))


def _title(fields: Mapping[str, Any], source: str, place: str) -> str | None:
    """Return the article's title; None where there is none."""
    title = fields.get("title")
    if title is None or title == "":
        return None
    return _text(fields, "title", source, place)


def _text(fields: Mapping[str, Any], name: str, source: str, place: str) -> str:
    value = _present(fields, name, source, place)
    if isinstance(value, str):
        if fault := text_fault(value):
            raise _refusal(source, f"{place}, {name}", fault, "a text")
        return value
    raise _refusal(source, f"{place}, {name}", json_kind(value), "a text")


def _present(fields: Mapping[str, Any], name: str, source: str, place: str) -> Any:
    if name not in fields:
        there = shown(", ".join(map(str, fields)), 120)
        raise UsageError(
            f"{source}, {place}: no field {name!r}{nearest(name, map(str, fields))}; there are: {there}; "
            f"expected: {FORMS}"
        )
    return fields[name]


def _refusal(source: str, place: str, found: str, expected: str) -> UsageError:
    return UsageError(f"{source}, {place}: found {found}, expected {expected}")
