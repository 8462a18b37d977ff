"""Where baseline, best arm and controls stand on one scale of F1: the verdict at a glance."""

from thinwire.report.figures.data import Standing
from thinwire.report.figures.svg import Scale, clipped, drawing, line, mark, nice_ticks, text_width, words
from thinwire.report.numbers import points

TITLE = "Where the best arm stands"
AXIS = "F1 on the test questions (points)"
SHAPES = {"best": "diamond", "baseline": "square", "ceiling": "triangle", "control": "circle"}


def draw(standings: list[Standing], width: float) -> str:
    """A row each, highest first; the scale starts at zero."""
    left = min(0.53 * width, max(text_width(item.label) for item in standings) + 16)
    right, row_height, top = width - 50, 23, 6
    ticks = nice_ticks(0.0, max(item.f1 for item in standings), 4 if width < 600 else 8)
    scale = Scale(0.0, ticks[-1], left, right)
    bottom = top + row_height * len(standings) + 4
    parts = [line(scale(value), top, scale(value), bottom, "grid") for value in ticks]
    for number, item in enumerate(standings):
        y = top + row_height * (number + 0.5)
        css = "best" if item.role == "best" else "ink" if item.role == "baseline" else "soft"
        weight = " strong" if item.role == "best" else ""
        parts += [words(clipped(item.label, left - 12), left - 10, y + 4.5, f"label{weight}", "end")]
        parts += [line(scale(0), y, scale(item.f1), y, f"stem {css}")]
        parts += [mark(SHAPES[item.role], scale(item.f1), y, css, 5, f"{item.label}: F1 {points(item.f1)}")]
        parts += [words(points(item.f1), scale(item.f1) + 11, y + 4.5, f"value{weight}")]
    parts += [line(left, bottom, right, bottom, "axis")]
    parts += [words(f"{100 * value:g}", scale(value), bottom + 17, "tick", "middle") for value in ticks]
    parts += [words(AXIS, (left + right) / 2, bottom + 35, "name", "middle")]
    return drawing(f"standing-{width:g}", width, bottom + 42, TITLE, describe(standings), *parts)


def describe(standings: list[Standing]) -> str:
    """The figure in words."""
    return "; ".join(f"{item.label}: F1 {points(item.f1)}" for item in standings) + "."
