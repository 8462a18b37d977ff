"""Differences to the baseline with their intervals, against the thresholds and the ceiling."""

from collections.abc import Sequence
from typing import NamedTuple

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.differences import Compared, Forest
from thinwire.report.figures.data.differences import forest as pick
from thinwire.report.figures.svg.axes import Scale, above, columns, labelled, nice_ticks, x_axis
from thinwire.report.figures.svg.elements import line, mark, rect, text_at
from thinwire.report.figures.svg.figure import Drawing, Figure
from thinwire.report.figures.svg.labels import stacked
from thinwire.report.figures.svg.text import clipped, text_width
from thinwire.report.formatting import interval, points, signed, step
from thinwire.report.score_words import begins

TITLE = "{} of each arm against the baseline"
AXIS = "difference in {} to the baseline (points)"
_COLUMNS = (44.0, 176.0, 92.0)
"""Widths of the columns: the score, the difference, the tier."""
_HEAD = 50
"""Height of the head of the figure, with labels on three levels."""
_LEVEL = 14
"""Height of a level of labels."""
_MANY = 16
"""From more rows than this on, they are closer together."""

Strips = list[tuple[float, float]]
"""Tops and bottoms of the areas in which the vertical lines are drawn."""


def figure(analysis: Analysis) -> Figure | None:
    """The differences of all arms; None if no arm but the baseline has one."""
    found = pick(analysis)
    if found is None:
        return None
    caption = (
        f"Thin lines: {found.confidence} intervals that hold for all arms at once; thick: for one arm alone. Shaded: "
        + ", ".join(f"{name} from {signed(value)}" for name, value in found.thresholds)
        + ". The diamond is the arm chosen on the selection split."
    )
    return Figure("differences", TITLE.format(begins(found.metric)), caption, lambda width: draw(found, width))


def draw(forest: Forest, width: float) -> Drawing:
    """The figure; under 600 pixels its columns move above the intervals."""
    narrow = width < 600
    left = 8.0 if narrow else min(220.0, max(text_width(row.name, bold=row.best) for row in forest.rows) + 18)
    beside = width - sum(_COLUMNS)  # where the columns begin, which a long name of the score needs more room before
    right = width - 8.0 if narrow else beside - max(14.0, text_width(forest.metric) - _COLUMNS[0] + 28)
    row_height = 42 if narrow else 27 if len(forest.rows) <= _MANY else 21
    ticks = nice_ticks(*forest.span(), 4 if narrow else 7)
    scale = Scale(ticks[0], ticks[-1], left + 8, right - 8)
    labels = _threshold_labels(forest, scale)
    head = _HEAD + _LEVEL * max(0, max((label.level for label in labels), default=0) - 2)
    bottom = float(head + row_height * len(forest.rows) + (0 if narrow else 6))
    # Where names and numbers stand above the intervals, nothing may run through them.
    strips = [(float(head), bottom)]
    if narrow:
        strips = [(head + n * row_height + 20.0, head + (n + 1) * row_height) for n in range(len(forest.rows))]
    parts = [_thresholds(forest, labels, head, scale, strips)]
    parts += [line(scale(0), top, scale(0), end, "zero") for top, end in strips]
    parts.append(x_axis(scale, labelled(ticks, step), (left, right), bottom, AXIS.format(forest.metric)))
    for number, row in enumerate(forest.rows):
        top = head + number * row_height
        y = top + (row_height - 11.0 if narrow else row_height / 2)
        parts.append(_interval(row, forest, scale, y))
        if narrow:
            parts.append(above(row.name, "0" if row.is_baseline else _difference(row), width, y - 14, row.best))
        else:
            parts.append(_beside(row, left, beside, y))
    if not narrow:
        heads = [forest.metric, f"difference [{forest.confidence}]", "supported"]
        parts.append(columns(_COLUMNS, heads, beside, head - 10, "tick"))
    return Drawing(width, bottom + 46, describe(forest), "".join(parts))


class _Label(NamedTuple):
    """A label above a line at ``value``."""

    value: float
    text: str
    css: str
    centre: float
    level: int
    """How many labels it stands above, because they would meet."""


def _threshold_labels(forest: Forest, scale: Scale) -> list[_Label]:
    marks = [(value, signed(value), "threshold") for _, value in forest.thresholds]
    marks += [] if forest.ceiling is None else [(forest.ceiling, f"ceiling {signed(forest.ceiling)}", "ceiling")]
    marks.sort()
    halves = [text_width(label) / 2 for _, label, _ in marks]
    centres = [
        min(scale(value), scale.end + 8 - half) if css == "ceiling" else scale(value)
        for (value, _, css), half in zip(marks, halves, strict=True)
    ]
    levels = stacked([(x - half, x + half) for x, half in zip(centres, halves, strict=True)])
    return [_Label(*mark, centre, level) for mark, centre, level in zip(marks, centres, levels, strict=True)]


def _thresholds(forest: Forest, labels: Sequence[_Label], head: float, scale: Scale, strips: Strips) -> str:
    parts = []
    for label in labels:
        place, y = scale(label.value), head - 10 - _LEVEL * label.level
        parts += [line(place, top, place, end, label.css) for top, end in strips]
        parts += [line(place, y + 4, place, head, label.css), text_at(label.text, label.centre, y, "tick", "middle")]
    bands = [value for _, value in forest.thresholds]
    shades = [
        rect(scale(low), top, scale(high) - scale(low), end - top, f"band band{number}")
        for number, (low, high) in enumerate(zip(bands, [*bands[1:], scale.high], strict=True))
        for top, end in strips
        if high > low
    ]
    return "".join(shades + parts)


def _interval(row: Compared, forest: Forest, scale: Scale, y: float) -> str:
    css = "best" if row.best else "ink"
    parts = []
    if row.outer:
        low, high = scale(row.outer[0]), scale(row.outer[1])
        parts += [line(low, y, high, y, f"outer {css}"), line(low, y - 4, low, y + 4, f"outer {css}")]
        parts += [line(high, y - 4, high, y + 4, f"outer {css}")]
    if row.inner:
        parts.append(line(scale(row.inner[0]), y, scale(row.inner[1]), y, f"inner {css}"))
    shape = "square" if row.is_baseline else "diamond" if row.best else "circle"
    return "".join([*parts, mark(shape, scale(row.estimate), y, css, 4.5, _sentence(row, forest))])


def _beside(row: Compared, left: float, begin: float, y: float) -> str:
    weight = " strong" if row.best else ""
    name = text_at(clipped(row.name, left - 14, row.best), left - 10, y + 4.5, f"label{weight}", "end")
    return name + columns(_COLUMNS, _texts(row), begin, y + 4.5, f"value{weight}")


def _texts(row: Compared) -> tuple[str, str, str]:
    if row.is_baseline:
        return points(row.score), "baseline", ""
    return points(row.score), _difference(row), row.tier or ""


def _difference(row: Compared) -> str:
    return signed(row.estimate) + (f" {interval(*row.outer)}" if row.outer else "")


def _sentence(row: Compared, forest: Forest) -> str:
    if row.is_baseline:
        return f"{row.name}: {forest.metric} {points(row.score)}, the baseline"
    text = f"{row.name}: {forest.metric} {points(row.score)}, {signed(row.estimate)}"
    if row.outer:
        text += f", simultaneous {forest.confidence} {interval(*row.outer)}"
    if row.inner:
        text += f", pointwise {interval(*row.inner)}"
    return text


def describe(forest: Forest) -> str:
    """The figure in words, largest difference first."""
    lines = [_sentence(row, forest) for row in forest.rows]
    lines += [f"threshold {name}: {signed(value)}" for name, value in forest.thresholds]
    if forest.ceiling is not None:
        lines.append(f"ceiling: {signed(forest.ceiling)}")
    return "; ".join(lines) + "."
