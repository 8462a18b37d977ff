"""Where baseline, best arm and controls stand on one scale of the score: the verdict at a glance."""

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.differences import Standing
from thinwire.report.figures.data.differences import standings as pick
from thinwire.report.figures.svg.axes import Scale, labelled, nice_ticks, x_axis
from thinwire.report.figures.svg.elements import line, mark, text_at
from thinwire.report.figures.svg.figure import Drawing, Figure
from thinwire.report.figures.svg.text import clipped, text_width
from thinwire.report.formatting import points

TITLE = "Where the best arm stands"
AXIS = "{} on the test questions (points)"
SHAPES = {"best": "diamond", "baseline": "square", "ceiling": "triangle", "control": "circle"}


def figure(analysis: Analysis) -> Figure | None:
    """Where baseline, best arm and controls stand; None if none of them has a result."""
    found, metric = pick(analysis), analysis.task.label
    return Figure("standings", TITLE, "", lambda width: draw(found, metric, width)) if found else None


def draw(standings: list[Standing], metric: str, width: float) -> Drawing:
    """A row each, highest first; the scale, of the score named ``metric``, starts at zero."""
    left = min(0.53 * width, max(text_width(item.label, bold=item.role == "best") for item in standings) + 16)
    right, row_height, top = width - 50, 23, 6
    highest = max(item.score for item in standings) or 0.01  # one point, where all scores are 0
    ticks = nice_ticks(0.0, highest, 4 if width < 600 else 8)
    scale = Scale(0.0, ticks[-1], left, right)
    bottom = top + row_height * len(standings) + 4
    parts = [line(scale(value), top, scale(value), bottom, "grid") for value in ticks]
    for number, item in enumerate(standings):
        y = top + row_height * (number + 0.5)
        css = "best" if item.role == "best" else "ink" if item.role == "baseline" else "soft"
        weight = " strong" if item.role == "best" else ""
        parts += [
            text_at(clipped(item.label, left - 12, item.role == "best"), left - 10, y + 4.5, f"label{weight}", "end")
        ]
        parts += [line(scale(0), y, scale(item.score), y, f"stem {css}")]
        parts += [mark(SHAPES[item.role], scale(item.score), y, css, 5, _sentence(item, metric))]
        parts += [text_at(points(item.score), scale(item.score) + 11, y + 4.5, f"value{weight}")]
    axis = AXIS.format(metric)
    parts += [x_axis(scale, labelled(ticks, lambda value: f"{100 * value:g}"), (left, right), bottom, axis)]
    return Drawing(width, bottom + 46, describe(standings, metric), "".join(parts))


def _sentence(item: Standing, metric: str) -> str:
    return f"{item.label}: {metric} {points(item.score)}"


def describe(standings: list[Standing], metric: str) -> str:
    """The figure in words."""
    return "; ".join(_sentence(item, metric) for item in standings) + "."
