"""Differences to the baseline with their intervals, against the thresholds and the ceiling."""

from thinwire.report.figures.data import Compared, Forest
from thinwire.report.figures.svg import (
    Scale,
    clipped,
    drawing,
    line,
    mark,
    nice_ticks,
    rect,
    stacked,
    text_width,
    words,
)
from thinwire.report.numbers import interval, points, signed, step

TITLE = "F1 of each arm against the baseline"
AXIS = "difference in F1 to the baseline (points)"
_COLUMNS = (("F1", 44.0), ("difference [{}]", 176.0), ("supported", 92.0))
_HEAD = 46

Strips = list[tuple[float, float]]
"""Tops and bottoms of the areas in which the vertical lines are drawn."""


def draw(forest: Forest, width: float) -> str:
    """The figure; under 600 pixels its columns move above the intervals."""
    narrow = width < 600
    left = 8.0 if narrow else min(220.0, max(text_width(row.name) for row in forest.rows) + 18)
    right = width - 8.0 if narrow else width - sum(size for _, size in _COLUMNS) - 14
    row_height = 42 if narrow else 27
    ticks = nice_ticks(*forest.span(), 4 if narrow else 7)
    scale = Scale(ticks[0], ticks[-1], left + 8, right - 8)
    bottom = float(_HEAD + row_height * len(forest.rows) + (0 if narrow else 6))
    # Where names and numbers stand above the intervals, nothing may run through them.
    strips = [(float(_HEAD), bottom)]
    if narrow:
        strips = [(_HEAD + n * row_height + 20.0, _HEAD + (n + 1) * row_height) for n in range(len(forest.rows))]
    parts = [_thresholds(forest, scale, strips), _axis(ticks, scale, left, right, strips)]
    for number, row in enumerate(forest.rows):
        top = _HEAD + number * row_height
        y = top + (row_height - 11.0 if narrow else row_height / 2)
        parts.append(_interval(row, forest.confidence, scale, y))
        parts.append(_beside(row, left, right, y) if not narrow else _above(row, width, y - 14))
    if not narrow:
        parts.append(_column_names(right, forest.confidence))
    return drawing(f"forest-{width:g}", width, bottom + 46, TITLE, describe(forest), *parts)


def _thresholds(forest: Forest, scale: Scale, strips: Strips) -> str:
    marks = [(value, signed(value), "threshold") for _, value in forest.thresholds]
    marks += [] if forest.ceiling is None else [(forest.ceiling, f"ceiling {signed(forest.ceiling)}", "ceiling")]
    marks.sort()
    halves = [text_width(label) / 2 for _, label, _ in marks]
    centres = [
        min(scale(value), scale.end + 8 - half) if css == "ceiling" else scale(value)
        for (value, _, css), half in zip(marks, halves, strict=True)
    ]
    levels = stacked([(x - half, x + half) for x, half in zip(centres, halves, strict=True)])
    parts = []
    for (value, label, css), centre, level in zip(marks, centres, levels, strict=True):
        y = _HEAD - 10 - 14 * min(level, 2)
        parts += [line(scale(value), top, scale(value), end, css) for top, end in strips]
        parts += [line(scale(value), y + 4, scale(value), _HEAD, css), words(label, centre, y, "tick", "middle")]
    bands = [value for _, value in forest.thresholds]
    shades = [
        rect(scale(low), top, scale(high) - scale(low), end - top, f"band band{number}")
        for number, (low, high) in enumerate(zip(bands, [*bands[1:], scale.high], strict=True))
        for top, end in strips
        if high > low
    ]
    return "".join(shades + parts)


def _axis(ticks: list[float], scale: Scale, left: float, right: float, strips: Strips) -> str:
    bottom = strips[-1][1]
    parts = [line(left, bottom, right, bottom, "axis")]
    parts += [line(scale(0), top, scale(0), end, "zero") for top, end in strips]
    for value in ticks:
        parts += [line(scale(value), bottom, scale(value), bottom + 5, "axis")]
        parts += [words(step(value), scale(value), bottom + 19, "tick", "middle")]
    return "".join([*parts, words(AXIS, (left + right) / 2, bottom + 38, "name", "middle")])


def _interval(row: Compared, confidence: str, scale: Scale, y: float) -> str:
    css = "best" if row.best else "ink"
    parts = []
    if row.outer:
        low, high = scale(row.outer[0]), scale(row.outer[1])
        parts += [line(low, y, high, y, f"outer {css}"), line(low, y - 4, low, y + 4, f"outer {css}")]
        parts += [line(high, y - 4, high, y + 4, f"outer {css}")]
    if row.inner:
        parts.append(line(scale(row.inner[0]), y, scale(row.inner[1]), y, f"inner {css}"))
    shape = "square" if row.is_baseline else "diamond" if row.best else "circle"
    return "".join([*parts, mark(shape, scale(row.estimate), y, css, 4.5, _sentence(row, confidence))])


def _beside(row: Compared, left: float, right: float, y: float) -> str:
    weight = " strong" if row.best else ""
    parts = [words(clipped(row.name, left - 14), left - 10, y + 4.5, f"label{weight}", "end")]
    x = right + 14
    for (_, size), text in zip(_COLUMNS, _texts(row), strict=True):
        x += size
        parts.append(words(text, x, y + 4.5, f"value{weight}", "end"))
    return "".join(parts)


def _above(row: Compared, width: float, y: float) -> str:
    weight = " strong" if row.best else ""
    text = "0" if row.is_baseline else f"{signed(row.estimate)} {interval(*row.outer) if row.outer else ''}"
    name = clipped(row.name, width - text_width(text) - 30)
    return words(name, 8, y, f"label{weight}") + words(text.strip(), width - 8, y, f"value{weight}", "end")


def _column_names(right: float, confidence: str) -> str:
    parts, x = [], right + 14
    for name, size in _COLUMNS:
        x += size
        parts.append(words(name.format(confidence), x, _HEAD - 10, "tick", "end"))
    return "".join(parts)


def _texts(row: Compared) -> tuple[str, str, str]:
    if row.is_baseline:
        return points(row.f1), "baseline", ""
    difference = signed(row.estimate) + (f" {interval(*row.outer)}" if row.outer else "")
    return points(row.f1), difference, row.tier or ""


def _sentence(row: Compared, confidence: str) -> str:
    if row.is_baseline:
        return f"{row.name}: F1 {points(row.f1)}, the baseline"
    text = f"{row.name}: F1 {points(row.f1)}, {signed(row.estimate)}"
    if row.outer:
        text += f", simultaneous {confidence} {interval(*row.outer)}"
    if row.inner:
        text += f", pointwise {interval(*row.inner)}"
    return text


def describe(forest: Forest) -> str:
    """The figure in words, largest difference first."""
    lines = [_sentence(row, forest.confidence) for row in forest.rows]
    lines += [f"threshold {name}: {signed(value)}" for name, value in forest.thresholds]
    if forest.ceiling is not None:
        lines.append(f"ceiling: {signed(forest.ceiling)}")
    return "; ".join(lines) + "."
