"""What one setting does with all else equal: to the score and, where it moves, to the reconstruction."""

from functools import partial

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.rows import confidence
from thinwire.report.figures.data.settings import AlongSetting, SettingLine, SettingPoint, along_settings, written
from thinwire.report.figures.svg.axes import Axes, Scale, labelled, legend, nice_ticks
from thinwire.report.figures.svg.elements import line, mark, path
from thinwire.report.figures.svg.figure import HALF, WIDE, Drawing, Figure
from thinwire.report.figures.svg.palette import look
from thinwire.report.formatting import decimal, interval, signed, step
from thinwire.report.score_words import begins

Y_AXIS = "difference in {} to the baseline (points)"
COSINE_AXIS = "cosine of rebuilt and true embeddings"
_HEIGHT = 220
_APART = 9.0
"""Most pixels between the intervals of two lines at the same value."""
_SHARE = 0.72
"""Of the distance between two values, what all lines together may take."""


def figures(analysis: Analysis) -> list[Figure]:
    """A figure for each setting with lines along it; half as wide where the cosine stays the same."""
    level, metric = confidence(analysis), analysis.task.label
    return [
        Figure(
            f"by_{found.path.replace('.', '_')}",
            f"{begins(metric)} by {found.path}, all else equal",
            _caption(found, level),
            partial(draw, found, metric),
            WIDE if found.has_cosine else HALF,
        )
        for found in along_settings(analysis)
    ]


def _caption(found: AlongSetting, level: str) -> str:
    caption = f"With simultaneous {level} intervals: where these overlap widely, the order may be luck."
    return caption + (f" All with {found.shared}." if found.shared else "")


def draw(found: AlongSetting, metric: str, width: float) -> Drawing:
    """A line for each group of arms, with simultaneous intervals; a second panel beside or below for the cosine.

    Args:
        metric: name of the score.
    """
    labels = [item.label for item in found.lines] if len(found.lines) > 1 else []
    keys, rows = legend(labels, width, dashed=True)
    beside = found.has_cosine and width >= 600
    size = (width - 32) / 2 if beside else width
    top = 48.0 + rows
    arms = [point.arm for item in found.lines for point in item.points]
    ends = [0.0, *(value for arm in arms for value in (arm.estimate, *(arm.outer or ())))]
    parts = [keys, _panel(found, 0, top, size, ends, Y_AXIS.format(metric))]
    bottom = top + _HEIGHT
    if found.has_cosine:
        shift = 0.0 if beside else _HEIGHT + 88.0
        cosines = [value for item in found.lines for point in item.points if (value := point.cosine) is not None]
        parts.append(_panel(found, width - size if beside else 0, top + shift, size, cosines, COSINE_AXIS))
        bottom += shift
    return Drawing(width, bottom + 46, describe(found), "".join(parts))


def _panel(found: AlongSetting, left: float, top: float, size: float, values: list[float], axis: str) -> str:
    """All lines, those at the same value moved apart so that their intervals can be told.

    Args:
        values: what the vertical axis covers.
        axis: name of the vertical axis. Unless it is that of the cosine, the difference in the score is drawn, with its
            intervals and the line of zero.
    """
    is_cosine = axis == COSINE_AXIS
    ticks = nice_ticks(min(values), max(values), 5)
    x = Scale(-0.5, len(found.values) - 0.5, left + 46, left + size - 10)
    y = Scale(ticks[0], ticks[-1], top + _HEIGHT, top)
    # Values are in order, and their distances say nothing.
    x_name, x_ticks = f"{found.path}, at equal distances", [(float(i), written(v)) for i, v in enumerate(found.values)]
    y_ticks = labelled(ticks, (lambda value: f"{value:g}") if is_cosine else step)
    parts = [Axes(x, y, x_name, axis, x_ticks, y_ticks, left).draw()]
    parts += [] if is_cosine else [line(x.start, y(0), x.end, y(0), "zero")]
    apart = min(_APART, _SHARE * (x(1) - x(0)) / len(found.lines))
    for number, item in enumerate(found.lines):
        shift = (number - (len(found.lines) - 1) / 2) * apart
        spots = [
            (x(found.values.index(point.value)) + shift, y(value), point)
            for point in item.points
            if (value := point.cosine if is_cosine else point.arm.estimate) is not None
        ]
        parts.append(_line(item, number, spots, None if is_cosine else y))
    return "".join(parts)


def _line(item: SettingLine, number: int, spots: list[tuple[float, float, SettingPoint]], scale: Scale | None) -> str:
    """Marks joined by a line; with the scale of differences, each with its interval."""
    colour, shape, dash = look(number)
    css = f"c{colour}"
    parts = [path([spot[:2] for spot in spots], f"curve {css}", stroke_dasharray=dash or None)]
    if scale is not None:
        ends = [(left, point.arm.outer) for left, _, point in spots if point.arm.outer]
        parts += [line(left, scale(low), left, scale(high), f"outer {css}") for left, (low, high) in ends]
    parts += [mark(shape, left, top, css, 5, _sentence(item, point)) for left, top, point in spots]
    return "".join(parts)


def _sentence(item: SettingLine, point: SettingPoint) -> str:
    text = f"{point.arm.name} ({item.label}) at {written(point.value)}: " if item.label else f"{point.arm.name}: "
    text += "the baseline" if point.arm.is_baseline else signed(point.arm.estimate)
    text += f" {interval(*point.arm.outer)}" if point.arm.outer else ""
    return text + (f", cosine {decimal(point.cosine)}" if point.cosine is not None else "")


def describe(found: AlongSetting) -> str:
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
