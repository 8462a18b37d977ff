"""Questions with a context and gold answers, from SQuAD-format JSON or flat rows."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from thinwire.errors import UsageError

Unanswerable = Literal["refuse", "drop"]


@dataclass(frozen=True, kw_only=True)
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


def read_examples(path: Path, unanswerable: Unanswerable = "refuse") -> list[Example]:
    """Read a SQuAD-format ``.json`` (v1.1 or v2.0) or a flat ``.jsonl``.

    A flat line has ``id``, ``context``, ``question`` and ``answers`` (texts, or SQuAD's ``text`` and ``answer_start``
    lists), and may have ``title``.

    Raises:
        UsageError: the file is missing or has another format, or it has unanswerable questions to be refused.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            rows: Iterable[Mapping[str, Any]] = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            rows = _flatten(json.loads(text))
        return from_rows(rows, source=str(path), unanswerable=unanswerable)
    except FileNotFoundError:
        raise UsageError(f"no data file {path}; give squad, a SQuAD-format .json or a .jsonl") from None
    except UsageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is not SQuAD-format data ({type(error).__name__}: {error}); expected "
            '{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]} '
            "or one JSON object a line in a .jsonl"
        ) from None


def _flatten(document: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    num_paragraphs: Counter[str] = Counter()
    for index, article in enumerate(document["data"]):
        title = article.get("title") or f"article {index}"
        for paragraph in article["paragraphs"]:
            # Counted by title: two articles of one title must not share paragraph ids.
            paragraph_id = f"{title}/{num_paragraphs[title]}"
            num_paragraphs[title] += 1
            for qa in paragraph["qas"]:
                yield {**qa, "title": title, "context": paragraph["context"], "paragraph": paragraph_id}


def from_rows(rows: Iterable[Mapping[str, Any]], *, source: str, unanswerable: Unanswerable) -> list[Example]:
    """Make examples of flat rows; ``source`` names them in messages."""
    examples: list[Example] = []
    paragraph_ids: dict[str, str] = {}
    ids: set[str] = set()
    refused = 0
    for row in rows:
        texts, start = _answers(row["answers"])
        if not texts:
            refused += 1
            continue
        paragraph = row.get("paragraph") or paragraph_ids.setdefault(row["context"], f"p{len(paragraph_ids)}")
        id_ = str(row["id"])
        if id_ in ids:
            raise UsageError(f"{source} holds the question id {id_!r} twice; ids must be unique")
        ids.add(id_)
        examples.append(
            Example(
                id=id_,
                article=row.get("title") or paragraph,
                paragraph_id=paragraph,
                context=row["context"],
                question=str(row["question"]).strip(),
                answers=texts,
                answer_start=row["context"].find(texts[0]) if start is None else start,
            )
        )
    if refused and unanswerable == "refuse":
        raise UsageError(
            f"{source} holds {refused} unanswerable questions, which SQuAD v1.1's metric cannot score; "
            "set data.unanswerable=drop (evaluate, score: --unanswerable drop) to leave them out"
        )
    if not examples:
        raise UsageError(f"{source} holds no question with an answer")
    return examples


def _answers(value: Any) -> tuple[tuple[str, ...], int | None]:
    if isinstance(value, str):
        return (value,), None
    if isinstance(value, Mapping):  # Hugging Face's form: parallel lists
        texts, starts = list(value["text"]), list(value.get("answer_start") or [])
        return tuple(texts), starts[0] if starts else None
    if value and isinstance(value[0], Mapping):  # the official form: a list of objects
        return tuple(answer["text"] for answer in value), value[0].get("answer_start")
    return tuple(str(text) for text in value), None
