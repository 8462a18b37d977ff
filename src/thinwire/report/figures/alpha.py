"""What alpha does at the same rank and layers."""

from thinwire.report.figures.data import AlphaLine
from thinwire.report.figures.palette import DASHES, SHAPES
from thinwire.report.figures.svg import Axes, Scale, drawing, labelled, line, mark, nice_ticks, path, text_width, words
from thinwire.report.numbers import interval, signed, step

TITLE = "F1 by alpha, at the same rank and layers"
X_AXIS = "LoRA alpha (logarithmic)"
Y_AXIS = "difference in F1 to the baseline (points)"
_APART = 9
"""Pixels between intervals at the same alpha."""


def draw(lines: list[AlphaLine], width: float) -> str:
    """A line for each rank and layers, with simultaneous intervals, moved apart so that they can be told."""
    alphas = sorted({alpha for item in lines for alpha, _ in item.points})
    values = [value for item in lines for _, row in item.points for value in (row.estimate, *(row.outer or ()))]
    y_ticks = nice_ticks(min(0.0, *values), max(values), 5)
    legend_rows, legend = _legend(lines, width)
    top = 44.0 + 20 * legend_rows
    bottom = top + 210
    x = Scale(alphas[0] / 1.35, alphas[-1] * 1.35, 46, width - 10, log=True)
    y = Scale(y_ticks[0], y_ticks[-1], bottom, top)
    y_labels = labelled(y_ticks, step)
    axes = Axes(x, y, X_AXIS, Y_AXIS, labelled(alphas, lambda value: f"{value:g}"), y_labels)
    parts = [legend, axes.draw(), line(46, y(0), width - 10, y(0), "zero")]
    for number, item in enumerate(lines):
        shift = (number - (len(lines) - 1) / 2) * _APART
        parts.append(_line(item, number, shift, x, y))
    return drawing(f"alpha-{width:g}", width, bottom + 46, TITLE, describe(lines), *parts)


def _line(item: AlphaLine, number: int, shift: float, x: Scale, y: Scale) -> str:
    css = f"c{number % len(SHAPES)}"
    spots = [(x(alpha) + shift, y(row.estimate)) for alpha, row in item.points]
    parts = [path(spots, f"curve {css}", stroke_dasharray=DASHES[number % len(DASHES)] or None)]
    for (alpha, row), (left, middle) in zip(item.points, spots, strict=True):
        text = f"{item.label}, alpha {alpha:g}: {signed(row.estimate)}"
        if row.outer:
            parts.append(line(left, y(row.outer[0]), left, y(row.outer[1]), f"outer {css}"))
            text += f" {interval(*row.outer)}"
        parts.append(mark(SHAPES[number % len(SHAPES)], left, middle, css, 5, text))
    return "".join(parts)


def _legend(lines: list[AlphaLine], width: float) -> tuple[int, str]:
    parts, x, row = [], 6.0, 0
    for number, item in enumerate(lines):
        size = text_width(item.label) + 34
        if x + size > width and x > 6:
            x, row = 6.0, row + 1
        shape = number % len(SHAPES)
        y = 12.0 + 20 * row
        parts += [mark(SHAPES[shape], x, y - 4.5, f"key c{shape}", 5), words(item.label, x + 12, y, "tick")]
        x += size
    return row, "".join(parts)


def describe(lines: list[AlphaLine]) -> str:
    """The figure in words."""
    return (
        "; ".join(
            f"{item.label}: " + ", ".join(f"alpha {alpha:g} {signed(row.estimate)}" for alpha, row in item.points)
            for item in lines
        )
        + "."
    )
