"""Markup that is safe by construction: whatever comes from the analysis passes through ``text``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from thinwire.report.figures.svg.figure import NARROW, WIDE, Figure
from thinwire.report.formatting import MISSING

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def text(value: object) -> str:
    """Any value as escaped text; None is a dash. Control characters (which HTML forbids) and those that turn the
    direction of the text around them become U+FFFD."""
    return MISSING if value is None else escape(_CONTROL.sub("\ufffd", str(value)))


@dataclass(frozen=True, kw_only=True)
class HtmlCell:
    """A table's cell: escaped markup, and the full figure behind it, which the page sorts by."""

    markup: str
    value: float | str | None = None
    css: str = ""
    key: str = ""
    """The name of the figure in the analysis."""


@dataclass(frozen=True, kw_only=True)
class HtmlColumn:
    """A table's column: its name, whether it holds numbers, and what it means."""

    name: str
    numeric: bool = True
    hint: str = ""


def table(
    columns: Sequence[HtmlColumn], rows: Iterable[tuple[str, Sequence[HtmlCell]]], caption: str, css: str = ""
) -> str:
    """A table in its own scrolling box; rows are (class, cells), and the first cell of each names it.

    Columns without any value are left out.
    """
    rows = list(rows)
    kept = [
        number
        for number in range(len(columns))
        if not rows or number == 0 or any(cells[number].markup != MISSING for _, cells in rows)
    ]
    columns = [columns[number] for number in kept]
    rows = [(row_css, [cells[number] for number in kept]) for row_css, cells in rows]
    head = "".join(
        f'<th scope="col" class="{"number" if column.numeric else "words"}"'
        + (f' title="{text(column.hint)}"' if column.hint else "")
        + f">{text(column.name)}</th>"
        for column in columns
    )
    body = "".join(f'<tr class="{row_css}">{_cells(cells, columns)}</tr>' for row_css, cells in rows)
    return (
        f'<div><p class="caption">{text(caption)}</p>'  # outside of the box, or it would scroll away
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}">'
        f'<table class="{css}" aria-label="{text(caption)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></div>"
    )


def _cells(cells: Sequence[HtmlCell], columns: Sequence[HtmlColumn]) -> str:
    paired = zip(cells, columns, strict=True)
    return "".join(_cell(cell, column, number == 0) for number, (cell, column) in enumerate(paired))


def _cell(cell: HtmlCell, column: HtmlColumn, names_row: bool) -> str:
    name, scope = ("th", ' scope="row"') if names_row else ("td", "")
    css = " ".join(filter(None, ("number" if column.numeric else "words", cell.css)))
    key = f' data-key="{text(cell.key)}"' if cell.key else ""
    value = "" if cell.value is None else f' data-value="{text(cell.value)}"'
    return f'<{name}{scope} class="{css}"{key}{value}>{cell.markup}</{name}>'


def section(name: str, title: str, *parts: str) -> str:
    """A section of the page with its heading; empty parts leave nothing."""
    return f'<section id="{name}"><h2>{text(title)}</h2>{"".join(parts)}</section>'


def paragraph(words: str, css: str = "") -> str:
    """A paragraph of plain words."""
    return f'<p class="{css}">{text(words)}</p>' if css else f"<p>{text(words)}</p>"


def figure(found: Figure, caption: str | None = None, level: int = 3) -> str:
    """A figure with its title and caption; a wide one has a second drawing, which the page shows on a phone.

    Args:
        caption: in place of the figure's own.
        level: of the heading.
    """
    words = found.caption if caption is None else caption
    drawings = found.element(found.width)
    if found.width == WIDE:
        drawings = f'<div class="wide">{drawings}</div><div class="narrow">{found.element(NARROW)}</div>'
    return (
        f'<figure><figcaption><h{level} class="title">{text(found.title)}</h{level}>'
        f"{paragraph(words) if words else ''}</figcaption>{drawings}</figure>"
    )


def pairs(items: Iterable[tuple[str, object]]) -> str:
    """A list of names and values."""
    return "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in items) + "</dl>"
