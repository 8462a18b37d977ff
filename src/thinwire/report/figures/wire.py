"""Bits that each form of a token needs on a wire."""

from collections.abc import Mapping, Sequence
from typing import Any

from thinwire.report.compression import TOKEN_ID
from thinwire.report.figures.svg import Scale, drawing, line, log_ticks, mark, text_width, words
from thinwire.report.numbers import decimal

TITLE = "Bits on the wire for one token"
AXIS = "bits a token (logarithmic)"


def draw(forms: Sequence[Mapping[str, Any]], width: float) -> str:
    """A row each, most bits first; the token id as a line, as nothing above it saves anything."""
    found = sorted((form for form in forms if form["bits"]), key=lambda form: -form["bits"])
    left = max(text_width(form["form"]) for form in found) + 16
    ticks = log_ticks(min(form["bits"] for form in found), max(form["bits"] for form in found))
    top, row_height = 8, 28
    bottom = float(top + row_height * len(found))
    scale = Scale(ticks[0], ticks[-1], left, width - 58, log=True)
    parts = [line(scale(value), top, scale(value), bottom, "grid") for value in ticks]
    parts += [line(scale(f["bits"]), top, scale(f["bits"]), bottom, "ceiling") for f in found if f["form"] == TOKEN_ID]
    for number, form in enumerate(found):
        y = top + row_height * (number + 0.5)
        css, shape = ("c1", "square") if form["larger_than_id"] else ("c0", "circle")
        parts += [words(form["form"], left - 10, y + 4.5, "label", "end")]
        parts += [mark(shape, scale(form["bits"]), y, css, 5, f"{form['form']}: {bits(form['bits'])} bits a token")]
        parts += [words(bits(form["bits"]), scale(form["bits"]) + 11, y + 4.5, "value")]
    parts += [line(left, bottom, width - 58, bottom, "axis")]
    parts += [words(f"{value:,g}", scale(value), bottom + 17, "tick", "middle") for value in ticks]
    parts += [words(AXIS, (left + width - 58) / 2, bottom + 35, "name", "middle")]
    return drawing(f"wire-{width:g}", width, bottom + 42, TITLE, describe(found), *parts)


def bits(value: float) -> str:
    """Whole bits as they are, others with one decimal."""
    return decimal(value, 0 if float(value).is_integer() else 1)


def describe(forms: Sequence[Mapping[str, Any]]) -> str:
    """The figure in words, most bits first."""
    lines = (
        f"{form['form']}: {bits(form['bits'])} bits" + (", more than the token id" if form["larger_than_id"] else "")
        for form in forms
    )
    return "; ".join(lines) + "."
