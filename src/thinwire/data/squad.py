"""Questions with a context and gold answers, from SQuAD-format JSON or the rows of a table.

Every row is checked when it is read: what is not known to be right is refused, with its place, what was found and what
is expected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from thinwire.config.settings import ColumnsConfig
from thinwire.data.answers import mismatch, read_answers
from thinwire.data.choices import gold_of_cell, read_choices
from thinwire.data.columns import fields_of
from thinwire.data.squad_json import FORMS, articles_or_rows
from thinwire.data.tables import SEPARATORS, answers_of_cell, parquet_rows, text_rows
from thinwire.data.values import label, present, refusal, text
from thinwire.errors import UsageError, shown
from thinwire.hashes import content_hash
from thinwire.inputs import json_kind, opened
from thinwire.row_files import Numbered, json_rows
from thinwire.strict_json import WRITTEN_DECODER

Unanswerable = Literal["refuse", "drop"]
Mismatched = Literal["refuse", "drop", "keep"]

DATA_ENDINGS = (".json", ".jsonl", *SEPARATORS, ".parquet")
"""How the names of data files end."""

_DEFAULT_COLUMNS = ColumnsConfig()
_ID_DIGITS = 16
"""Of the hash that serves as an id: among a million questions, two of the same are as likely as 1 to 37 million."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One question about one paragraph."""

    id: str
    article: str
    """Title of the article; the paragraph's id if the source has no titles."""
    paragraph_id: str
    """The same for all questions about one paragraph, which are not independent."""
    context: str
    """Empty if the source has none."""
    question: str
    """Empty if the context is a text to be continued."""
    answers: tuple[str, ...]
    """Gold answers, at least one, in the source's order; of a choice, its text."""
    answer_start: int
    """Character offset of the first answer in ``context``; -1 if it does not occur there literally, or is a choice."""
    choices: tuple[str, ...] = ()
    """The options, if the question has any."""


def read_examples(
    path: Path,
    unanswerable: Unanswerable = "refuse",
    mismatched: Mismatched = "refuse",
    columns: ColumnsConfig = _DEFAULT_COLUMNS,
) -> list[Example]:
    """Read a file of questions, article by article or row by row; the ending of its name says what it is.

    That is a SQuAD-format ``.json`` (v1.1 or v2.0), or a table with the columns that ``columns`` names: a JSON list of
    objects in a ``.json``, ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet``. Contexts that are equal are kept once.

    Raises:
        UsageError: the file cannot be read, a row is not of the format, or there are unanswerable or mismatched
            questions to be refused.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        rows = _of_table(parquet_rows(path, columns), str(path), columns)
    elif ending in SEPARATORS:
        rows = _of_table(text_rows(path, columns), str(path), columns, are_cells=True)
    elif ending == ".jsonl":
        rows = _of_table(_objects(path, columns), str(path), columns)
    else:
        with opened(path, "data file") as file:
            is_list, found = articles_or_rows(file, path)
            rows = _of_table(_listed(found, path), str(path), columns) if is_list else _flattened(found, path)
            return _examples(rows, str(path), unanswerable, mismatched)
    return _examples(rows, str(path), unanswerable, mismatched)


def from_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    source: str,
    unanswerable: Unanswerable,
    mismatched: Mismatched = "refuse",
    columns: ColumnsConfig = _DEFAULT_COLUMNS,
) -> list[Example]:
    """Make examples of the rows of a table; ``source`` names them in messages, where rows count from 0.

    Raises:
        UsageError: as ``read_examples``.
    """
    numbered = ((f"row {number}", dict(row)) for number, row in enumerate(rows))
    return _examples(_of_table(numbered, source, columns), source, unanswerable, mismatched)


class _Row(NamedTuple):
    """A question as it was found."""

    place: str
    """Where it was found in its source."""
    fields: Mapping[str, Any]
    context: str
    question: str
    title: str | None
    paragraph: str | None = None
    """Id of its paragraph; None where the source is not divided into paragraphs."""
    choices: tuple[str, ...] = ()


def _of_table(
    rows: Iterable[Numbered], source: str, columns: ColumnsConfig, *, are_cells: bool = False
) -> Iterator[_Row]:
    """Yield the questions of a table; ``are_cells`` says that all values are texts."""
    has_ids: bool | None = None
    for place, row in rows:
        fields = fields_of(row, columns, f"{source}, {place}")
        if are_cells:
            fields["answers"] = answers_of_cell(fields["answers"], f"{source}, {place}, answers")
            if "choices" in fields:
                fields["choices"] = answers_of_cell(fields["choices"], f"{source}, {place}, choices")
                fields["answers"] = gold_of_cell(fields["answers"])
        context, question = (
            "" if column is None else text(fields, name, source, place)
            for name, column in (("context", columns.context), ("question", columns.question))
        )
        choices = read_choices(fields, source, place) if "choices" in fields else ()
        has_ids = "id" in fields if has_ids is None else has_ids
        if has_ids != ("id" in fields):
            raise UsageError(
                f"{source}, {place}: {'no field' if has_ids else 'a field'} 'id', but the rows before "
                f"{'have one' if has_ids else 'have none'}; give ids to all rows, or to none (data.columns.id=null)"
            )
        if not has_ids:
            fields["id"] = _made_id(context, question, choices)
        yield _Row(place, fields, context, question, _title(fields, source, place), choices=choices)


def _made_id(context: str, question: str, choices: tuple[str, ...]) -> str:
    """Return an id that is the same wherever the question stands, so that answers to it are still answers to it when
    rows are added, moved or taken out."""
    return content_hash([context, question.strip(), *([choices] if choices else [])])[:_ID_DIGITS]


def _objects(path: Path, columns: ColumnsConfig) -> Iterator[Numbered]:
    for place, fields in json_rows(path, "data file", WRITTEN_DECODER, expected=f"an object: {FORMS}"):
        if "data" in fields and columns == _DEFAULT_COLUMNS and "context" not in fields:
            raise UsageError(f"{path}, {place}: a whole SQuAD document in one line; name the file .json")
        yield place, fields


def _listed(found: Iterable[Any], path: Path) -> Iterator[Numbered]:
    for number, row in enumerate(found):
        if not isinstance(row, dict):
            raise refusal(str(path), f"[{number}]", json_kind(row), f"an object: {FORMS}")
        yield f"[{number}]", row


def _flattened(found: Iterable[Any], path: Path) -> Iterator[_Row]:
    num_paragraphs: Counter[str] = Counter()
    for number, article in enumerate(found):
        at = f"data[{number}]"
        if not isinstance(article, dict):
            raise refusal(str(path), at, json_kind(article), "an article, an object with title and paragraphs")
        title = _title(article, str(path), at) or f"article {number}"
        for inner, paragraph in _list_of_objects(article, "paragraphs", str(path), at):
            # Counted by title: two articles of one title must not share paragraph ids.
            paragraph_id = f"{title}/{num_paragraphs[title]}"
            num_paragraphs[title] += 1
            context = text(paragraph, "context", str(path), inner)
            for place, qa in _list_of_objects(paragraph, "qas", str(path), inner):
                yield _Row(place, qa, context, text(qa, "question", str(path), place), title, paragraph_id)


def _list_of_objects(
    holder: Mapping[str, Any], field: str, source: str, place: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a list with their places."""
    values = present(holder, field, source, place)
    if not isinstance(values, list):
        raise refusal(source, f"{place}.{field}", json_kind(values), "a list")
    for number, value in enumerate(values):
        at = f"{place}.{field}[{number}]"
        if not isinstance(value, dict):
            raise refusal(source, at, json_kind(value), "an object")
        yield at, value


def _examples(rows: Iterable[_Row], source: str, unanswerable: Unanswerable, mismatched: Mismatched) -> list[Example]:
    examples: list[Example] = []
    paragraphs: dict[tuple[str, str], tuple[str, str]] = {}  # one copy of the context, and the paragraph's id
    ids: set[str] = set()
    without_answer: list[str] = []  # their places
    mismatches, first_mismatch = 0, ""
    for row in rows:
        id_ = label(row.fields, "id", source, row.place)
        answers = read_answers(row.fields, source, row.place, row.choices)
        if not answers.texts:
            without_answer.append(row.place)
            continue
        if id_ in ids:
            raise _twice(id_, row, source)
        ids.add(id_)
        context, paragraph = row.context, row.paragraph
        if paragraph is None:
            context, paragraph = paragraphs.setdefault(_paragraph_of(row), (context, f"p{len(paragraphs)}"))
        is_span = bool(context) and not row.choices
        if is_span and mismatched != "keep" and (fault := mismatch(answers, context)):
            mismatches += 1
            first_mismatch = first_mismatch or f"{row.place}: {fault}"
            continue
        start = answers.starts[0] if is_span else -1
        examples.append(
            Example(
                id=id_,
                article=row.title or paragraph,
                paragraph_id=paragraph,
                context=context,
                question=row.question.strip(),
                answers=answers.texts,
                answer_start=context.find(answers.texts[0]) if start is None else start,
                choices=row.choices,
            )
        )
    if without_answer and unanswerable == "refuse":
        questions = "question" if len(without_answer) == 1 else "questions"
        raise UsageError(
            f"{source} holds {len(without_answer)} unanswerable {questions}, first {without_answer[0]}, which SQuAD "
            "v1.1's metric cannot score; give an answer, or set data.unanswerable=drop (evaluate, score: "
            "--unanswerable drop) to leave them out"
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


def _paragraph_of(row: _Row) -> tuple[str, str]:
    """Return what the questions of one paragraph have in common: the context; where there is none, the title; where
    there is none either, each row is a paragraph."""
    if row.context:
        return "context", row.context
    return ("row", row.place) if row.title is None else ("title", row.title)


def _twice(id_: str, row: _Row, source: str) -> UsageError:
    if row.paragraph is None and id_ == _made_id(row.context, row.question, row.choices):
        return UsageError(
            f"{source}, {row.place}: the same context and question as in a row before, and no ids to tell them apart; "
            "put all gold answers of a question into a list in one row, take the row out, or name a column of ids: "
            "data.columns.id=COLUMN (evaluate, score: --columns id=COLUMN)"
        )
    remedy = "; ids must be unique"
    if row.paragraph is None:
        remedy += ": name another column, or have ids made with data.columns.id=null (--columns id=null)"
    return UsageError(f"{source} holds the question id {shown(id_)} twice ({row.place}){remedy}")


def _title(fields: Mapping[str, Any], source: str, place: str) -> str | None:
    """Return the article's title; None where there is none."""
    title = fields.get("title")
    if title is None or title == "":
        return None
    return label(fields, "title", source, place)
