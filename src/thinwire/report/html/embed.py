"""The questions as data inside the page: JSON that no text can break out of, small enough for the whole test set."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from thinwire.report.html.markup import text

BUDGET = 2_300_000
"""Characters left for the questions in a page of at most 3 MB."""

_ANSWERS = ("text_control", "baseline", "best")
_CLIPS = (1000, 300, 150, 80, 40)
"""Longest text of a question or an answer: the first with which all fit. SQuAD's fit with the first."""


def script_json(value: object) -> str:
    """JSON for a ``<script>`` element: no ``<`` ends the element, no ``&`` or line separator is read another way."""
    written = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        written = written.replace(letter, f"\\u{ord(letter):04x}")
    return written


def questions_script(questions: Sequence[Mapping[str, Any]], names: Mapping[str, str], budget: int = BUDGET) -> str:
    """The element that holds the questions: plain JSON while that is small enough, else compressed.

    The compressed form (zlib, base64) is for the browser's own ``DecompressionStream``, and about 40 % of the size:
    the 10,570 questions of SQuAD's development set are 3 MB as plain JSON.
    """
    for clip in _CLIPS:
        data = {"names": names, "rows": [_row(question, clip) for question in questions]}
        plain = script_json(data)
        if len(plain.encode("utf-8", "replace")) <= budget:
            return f'<script type="application/json" id="question-data">{plain}</script>'
        packed = base64.b64encode(zlib.compress(plain.encode("utf-8", "replace"), 9)).decode("ascii")
        if len(packed) <= budget:
            return f'<script type="text/plain" id="question-data" data-encoding="deflate">{packed}</script>'
    raise ValueError(f"{len(questions):,} questions do not fit in a page")


def _row(question: Mapping[str, Any], clip: int) -> list[Any]:
    """One question as a list, as names would be most of its size: id, question, golds, then text and score of each."""
    golds = [_clipped(gold, clip) for gold in dict.fromkeys(question["golds"])]
    row: list[Any] = [question["id"], _clipped(question["question"], clip), golds]
    for name in _ANSWERS:
        answer = question[name]
        row += [None, None] if answer is None else [_clipped(answer["text"], clip), _rounded(answer["score"])]
    return row


def _clipped(words: str, clip: int) -> str:
    return words if len(words) <= clip else words[: clip - 1] + "…"


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)


def count(questions: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many questions the best arm fixed and broke: right is a score of 1 in the page's filters too."""
    pairs_ = [(q["baseline"], q["best"]) for q in questions if q["baseline"] and q["best"]]
    scored = [
        (a["score"] == 1, b["score"] == 1) for a, b in pairs_ if a["score"] is not None and b["score"] is not None
    ]
    return {"fixed": scored.count((False, True)), "broke": scored.count((True, False)), "all": len(questions)}


def filters(counts: Mapping[str, int]) -> str:
    """The buttons that choose which questions are shown."""
    names = {"all": "all", "fixed": "fixed", "broke": "broken"}
    return "".join(
        f'<button type="button" data-filter="{key}" aria-pressed="{str(key == "all").lower()}">'
        f"{text(name)} <span>{counts[key]:,}</span></button>"
        for key, name in names.items()
    )
