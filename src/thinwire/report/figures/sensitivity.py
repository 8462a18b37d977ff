"""What one setting does with all else equal: to F1 and, where it moves, to the reconstruction."""

from collections.abc import Callable

from thinwire.report.figures.palette import look
from thinwire.report.figures.settings import Along, Curves, Line, written
from thinwire.report.figures.svg import Axes, Scale, drawing, labelled, legend, line, mark, nice_ticks, path
from thinwire.report.numbers import decimal, interval, signed, step

Y_AXIS = "difference in F1 to the baseline (points)"
COSINE_AXIS = "cosine of rebuilt and true embeddings"
_HEIGHT = 220
_APART = 9.0
"""Most pixels between the intervals of two lines at the same value."""
SHARE = 0.72
"""Of the distance between two values, what all lines together may take."""


def title(found: Curves) -> str:
    """What the figure shows."""
    return f"F1 by {found.path}, all else equal"


def x_axis(found: Curves) -> str:
    """The axis' name: values are in order, and their distances say nothing."""
    return f"{found.path}, at equal distances"


def draw(found: Curves, width: float) -> str:
    """A line for each group of arms, with simultaneous intervals; a second panel beside or below for the cosine."""
    labels = [item.label for item in found.lines] if len(found.lines) > 1 else []
    keys, rows = legend(labels, width, dashed=True)
    beside = found.has_cosine and width >= 600
    size = (width - 32) / 2 if beside else width
    top = 48.0 + rows
    parts = [keys, _differences(found, 0, size, top)]
    bottom = top + _HEIGHT
    if found.has_cosine:
        shift = 0.0 if beside else _HEIGHT + 88.0
        parts.append(_cosines(found, width - size if beside else 0, size, top + shift))
        bottom += shift
    name = f"sensitivity-{found.path.replace('.', '-')}-{width:g}"
    return drawing(name, width, bottom + 46, title(found), describe(found), *parts)


def _differences(found: Curves, left: float, size: float, top: float) -> str:
    arms = [point.arm for item in found.lines for point in item.points]
    values = [value for arm in arms for value in (arm.estimate, *(arm.outer or ()))]
    ticks = nice_ticks(min(0.0, *values), max(0.0, *values), 5)
    x, y = _scales(found, ticks, left, size, top)
    axes = Axes(x, y, x_axis(found), Y_AXIS, _x_ticks(found), labelled(ticks, step), left)
    return axes.draw() + line(x.start, y(0), x.end, y(0), "zero") + _lines(found, x, y, _estimate, with_intervals=True)


def _cosines(found: Curves, left: float, size: float, top: float) -> str:
    values = [value for item in found.lines for point in item.points if (value := point.cosine) is not None]
    ticks = nice_ticks(min(values), max(values), 5)
    x, y = _scales(found, ticks, left, size, top)
    axes = Axes(x, y, x_axis(found), COSINE_AXIS, _x_ticks(found), labelled(ticks, lambda value: f"{value:g}"), left)
    return axes.draw() + _lines(found, x, y, _cosine)


def _estimate(point: Along) -> float | None:
    return point.arm.estimate


def _cosine(point: Along) -> float | None:
    return point.cosine


def _scales(found: Curves, ticks: list[float], left: float, size: float, top: float) -> tuple[Scale, Scale]:
    x = Scale(-0.5, len(found.values) - 0.5, left + 46, left + size - 10)
    return x, Scale(ticks[0], ticks[-1], top + _HEIGHT, top)


def _x_ticks(found: Curves) -> list[tuple[float, str]]:
    return [(float(place), written(value)) for place, value in enumerate(found.values)]


def _lines(
    found: Curves, x: Scale, y: Scale, measure: Callable[[Along], float | None], with_intervals: bool = False
) -> str:
    """All lines, those at the same value moved apart so that their intervals can be told."""
    apart = min(_APART, SHARE * (x(1) - x(0)) / len(found.lines))
    parts = []
    for number, item in enumerate(found.lines):
        shift = (number - (len(found.lines) - 1) / 2) * apart
        spots = [
            (x(found.values.index(point.value)) + shift, y(value), point)
            for point in item.points
            if (value := measure(point)) is not None
        ]
        parts.append(_line(item, number, spots, y if with_intervals else None))
    return "".join(parts)


def _line(item: Line, number: int, spots: list[tuple[float, float, Along]], scale: Scale | None) -> str:
    """Marks joined by a line; with the scale of differences, each with its interval."""
    colour, shape, dash = look(number)
    css = f"c{colour}"
    parts = [path([spot[:2] for spot in spots], f"curve {css}", stroke_dasharray=dash or None)]
    if scale is not None:
        ends = [(left, point.arm.outer) for left, _, point in spots if point.arm.outer]
        parts += [line(left, scale(low), left, scale(high), f"outer {css}") for left, (low, high) in ends]
    parts += [mark(shape, left, top, css, 5, _sentence(item, point)) for left, top, point in spots]
    return "".join(parts)


def _sentence(item: Line, point: Along) -> str:
    text = f"{point.arm.name} ({item.label}) at {written(point.value)}: " if item.label else f"{point.arm.name}: "
    text += "the baseline" if point.arm.is_baseline else signed(point.arm.estimate)
    text += f" {interval(*point.arm.outer)}" if point.arm.outer else ""
    return text + (f", cosine {decimal(point.cosine)}" if point.cosine is not None else "")


def describe(found: Curves) -> str:
    """The figure in words."""
    lines = (
        f"{item.label or found.path}: "
        + ", ".join(
            f"{written(point.value)} {signed(point.arm.estimate)}"
            + (f" (cosine {decimal(point.cosine)})" if found.has_cosine else "")
            for point in item.points
        )
        for item in found.lines
    )
    return f"{found.path}. " + "; ".join(lines) + "."
