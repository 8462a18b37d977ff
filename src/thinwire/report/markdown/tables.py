"""Markdown tables of arms and controls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from thinwire.report.compare import inert
from thinwire.report.rows import AnalysisRow, Difference
from thinwire.tasks.task import Task

_TAG = re.compile("<(?=[A-Za-z/!?])")
_LINK = re.compile(r"\](\(|\[|:)")


def points(fraction: float | None, sign: str = "") -> str:
    """Write a fraction as points, with one decimal; nothing where there is none."""
    return "" if fraction is None else f"{100 * fraction:{sign}.1f}"


def percent(share: float | None) -> str:
    """Write a share in per cent, with one decimal; nothing where there is none."""
    return "" if share is None else f"{100 * share:.1f} %"


def interval(difference: Difference) -> str:
    """Write both ends of a difference's simultaneous interval as signed points, or why there is none or a bound."""
    if difference.low is None:
        return difference.reason or "no interval"
    ends = f"{points(difference.low, '+')} to {points(difference.high, '+')}"
    return f"{ends}; {difference.reason}" if difference.reason else ends


def _gain(row: AnalysisRow) -> str:
    difference = row.score_difference
    return f"{points(difference.estimate, '+')} ({interval(difference)})" if difference else ""


def _p_value(row: AnalysisRow) -> str:
    difference = row.score_difference
    return f"{difference.p_adjusted:.4f}" if difference and difference.p_adjusted is not None else ""


@dataclass(frozen=True)
class MarkdownColumn:
    """A column of a table of arms or controls: its head, and what it says of a row that is done."""

    head: str
    cell: Callable[[AnalysisRow], str]
    numeric: bool = True


CONFIGURATION = MarkdownColumn("configuration", lambda row: f"**{row.name}**" if row.best else row.name, numeric=False)


TRAINED = MarkdownColumn("trained", lambda row: f"{row.params:,}")


def score_columns(task: Task) -> tuple[MarkdownColumn, ...]:
    """The task's score, and EM where it says more."""
    exact = (MarkdownColumn("EM", lambda row: points(row.em)),) if task.shows_exact_match else ()
    return (MarkdownColumn(task.label, lambda row: points(row.score)), *exact)


GAIN = MarkdownColumn("to the baseline", _gain, numeric=False)


P_VALUE = MarkdownColumn("adjusted p", _p_value)


TIER = MarkdownColumn("tier", lambda row: row.supported_tier or "", numeric=False)


_FINDING = MarkdownColumn("answers", lambda row: row.degeneration.finding if row.degeneration else "", numeric=False)


def finding_columns(task: Task) -> tuple[MarkdownColumn, ...]:
    """What was found of the answers' form, where they are texts of the model's own."""
    return (_FINDING,) if task.has_texts else ()


def table(rows: Sequence[AnalysisRow], columns: Sequence[MarkdownColumn]) -> str:
    """Write rows as a Markdown table, the highest score first; one that failed shows its status and no number."""
    if not rows:
        return ""
    lines = [line(column.head for column in columns), line("---:" if one.numeric else "---" for one in columns)]
    for row in sorted(rows, key=lambda row: -(row.score or -1)):
        if row.score is None:
            lines.append(f"{line([row.name, row.status])}{' |' * (len(columns) - 2)}")
        else:
            lines.append(line(column.cell(row) for column in columns))
    return "\n".join(lines)


def line(cells: Iterable[str]) -> str:
    """Write a line of a Markdown table; a bar or line end within a cell would end it."""
    return f"| {' | '.join(one_line(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def one_line(text: str) -> str:
    """Write ``text`` without line ends, which would begin a heading or list of their own."""
    return " ".join(text.split()) if len(text.splitlines()) > 1 else text


def inert_markdown(text: str) -> str:
    """Take the effect from what texts of others may bring into a section: control characters, HTML, links, images.

    Sections themselves have none of these.
    """
    return _LINK.sub(r"]\\\1", _TAG.sub("&lt;", inert(text)))
