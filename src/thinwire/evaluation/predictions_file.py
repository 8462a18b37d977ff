"""Read answers in SQuAD's official format: a JSON object ``{question id: answer}``."""

from __future__ import annotations

from pathlib import Path

from thinwire.errors import UsageError, shown
from thinwire.inputs import json_kind, parse_json, read_text

_MOST_BYTES = 1 << 30


def read_predictions(path: Path) -> dict[str, str]:
    """Return the answers by question id; an answer may be empty.

    Raises:
        UsageError: the file cannot be read or is no such object.
    """
    answers = parse_json(read_text(path, "predictions file", most_bytes=_MOST_BYTES), str(path))
    if not isinstance(answers, dict):
        raise UsageError(f"{path}: found {json_kind(answers)}, expected an object {{question id: answer}}")
    for id_, answer in answers.items():
        if not isinstance(answer, str):
            raise UsageError(f"{path}, answer to {shown(id_)}: found {json_kind(answer)}, expected a text")
    return answers
