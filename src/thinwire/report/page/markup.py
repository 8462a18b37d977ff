"""Markup that is safe by construction: whatever comes from the analysis passes through ``text``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from thinwire.report.numbers import MISSING

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def text(value: object) -> str:
    """Any value as escaped text; None is a dash, control characters (which HTML forbids) become U+FFFD."""
    return MISSING if value is None else escape(_CONTROL.sub("\ufffd", str(value)))


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A table's cell: escaped markup, and the full figure behind it, which the page sorts by."""

    markup: str
    value: float | str | None = None
    css: str = ""
    key: str = ""
    """The name of the figure in the analysis."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A table's column: its name, whether it holds numbers, and what it means."""

    name: str
    numeric: bool = True
    hint: str = ""


def table(columns: Sequence[Column], rows: Iterable[tuple[str, Sequence[Cell]]], caption: str, css: str = "") -> str:
    """A table in its own scrolling box; rows are (class, cells), and the first cell of each names it."""
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


def _cells(cells: Sequence[Cell], columns: Sequence[Column]) -> str:
    paired = zip(cells, columns, strict=True)
    return "".join(_cell(cell, column, number == 0) for number, (cell, column) in enumerate(paired))


def _cell(cell: Cell, column: Column, names_row: bool) -> str:
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


def figure(title: str, caption: str, wide: str, narrow: str | None = None) -> str:
    """A figure with its title; with two drawings, the page shows the one that fits the screen."""
    drawings = wide if narrow is None else f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'
    return (
        f"<figure><figcaption><h3>{text(title)}</h3>{paragraph(caption) if caption else ''}</figcaption>"
        f"{drawings}</figure>"
    )


def pairs(items: Iterable[tuple[str, object]]) -> str:
    """A list of names and values."""
    return "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in items) + "</dl>"
