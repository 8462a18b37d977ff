"""F1 against what an arm takes: does a larger one buy more?"""

from collections.abc import Callable, Sequence

from thinwire.report.figures.labels import Box, Spot, of_line, of_mark, placed
from thinwire.report.figures.palette import look
from thinwire.report.figures.sizes import Point, Tradeoff
from thinwire.report.figures.svg import (
    Axes,
    Scale,
    drawing,
    labelled,
    legend,
    line,
    log_ticks,
    mark,
    nice_ticks,
    path,
    text_width,
    words,
)
from thinwire.report.numbers import points, short, whole

Y_AXIS = "F1 (points)"
LONE = {
    (True, True): ("square", "best"),
    (True, False): ("square", "ink"),
    (False, True): ("diamond", "best"),
    (False, False): ("circle", "soft"),
}
"""Shape and class of an arm of no one group, by whether it is the baseline and whether it was chosen."""
_LOG_FROM = 12
"""With a wider range of sizes than this, the axis is logarithmic."""


def is_log(found: Tradeoff) -> bool:
    """Whether the sizes of the arms span so much that a linear axis would crowd the small ones."""
    return found.points[-1].size > _LOG_FROM * found.points[0].size


def draw(found: Tradeoff, width: float) -> str:
    """Arms as marks, shape and colour by group; the ceiling and the size to compare with as lines."""
    keys, rows = legend(found.groups, width, dashed=found.are_lines)
    top, left, right, height = 44 + rows, 46.0, width - 22, 300 if width >= 600 else 260
    log = is_log(found)
    sizes = [point.size for point in found.points] + ([] if found.reference is None else [found.reference[1]])
    low, high = min(sizes), max(sizes)
    ticks = log_ticks(low, high) if log else nice_ticks(low, high, 4 if width < 600 else 7)
    scores = [point.f1 for point in found.points] + ([] if found.ceiling is None else [found.ceiling])
    y_ticks = nice_ticks(min(scores), max(scores), 5)
    bottom = float(top + height)
    x, y = Scale(ticks[0], ticks[-1], left, right, log), Scale(y_ticks[0], y_ticks[-1], bottom, top)
    y_labels = labelled(y_ticks, lambda value: f"{100 * value:g}")
    parts = [keys, Axes(x, y, found.axis, Y_AXIS, labelled(ticks, short), y_labels).draw()]
    references, taken = _references(found, x, y)
    marks, lines = spots_of(found, lambda point: (x(point.size), y(point.f1)))
    parts += [references, *(_line(number, spots) for number, spots in enumerate(lines))]
    parts += [_mark(point, found.groups, found.unit, marks[point.name]) for point in found.points]
    there = labels(found, lambda point: marks[point.name], taken, (left - 6, 0, right + 20, bottom))
    for point in found.points:
        if point.name in there:
            where, middle = there[point.name]
            parts.append(words(label_of(point), where, middle + 4.5, "value strong" if point.best else "tick"))
    return drawing(f"{found.key}-{width:g}", width, bottom + 46, found.title, describe(found), *parts)


def _references(found: Tradeoff, x: Scale, y: Scale) -> tuple[str, list[Box]]:
    """The lines, and what their labels take."""
    parts, taken = [], []
    if found.ceiling is not None:
        height, label = y(found.ceiling), f"ceiling {points(found.ceiling)}"
        parts += [line(x.start, height, x.end, height, "ceiling"), words(label, x.end, height + 16, "tick", "end")]
        taken.append((x.end - text_width(label), height - 2, x.end, height + 20))
    if found.reference is not None:
        label, place = found.reference[0], x(found.reference[1])
        wide = text_width(label) + 5
        on_left = place - wide >= x.start
        parts += [line(place, y.start, place, y.end, "threshold")]
        parts += [words(label, place - 5 if on_left else place + 5, y.start - 7, "tick", "end" if on_left else None)]
        taken.append((place - wide * on_left, y.start - 20, place + wide * (not on_left), y.start))
    return "".join(parts), taken


def _line(number: int, spots: list[Spot]) -> str:
    colour, _, dash = look(number)
    return path(spots, f"curve c{colour}", stroke_dasharray=dash or None)


def _mark(point: Point, groups: list[str], unit: str, spot: Spot) -> str:
    tip = f"{point.name}: F1 {points(point.f1)}, {whole(point.size)} {unit}"
    if point.group:
        colour, shape, _ = look(groups.index(point.group))
        return mark(shape, *spot, f"c{colour}", 5.5, tip)
    shape, css = LONE[point.is_baseline, point.best]
    return mark(shape, *spot, css, 5, tip)


def spots_of(found: Tradeoff, place: Callable[[Point], Spot]) -> tuple[dict[str, Spot], list[list[Spot]]]:
    """Where each arm is, by name, and the lines, if the groups are lines."""
    marks = {point.name: place(point) for point in found.points}
    return marks, [[marks[name] for name in names] for names in found.lines]


def labels(found: Tradeoff, place: Callable[[Point], Spot], taken: Sequence[Box], limits: Box) -> dict[str, Spot]:
    """Where the labels of the arms have their place, clear of marks and lines, by name.

    First best arm and baseline, then those in no group, whose labels are long.
    """
    marks, lines = spots_of(found, place)
    order = sorted(found.points, key=lambda point: (not point.best, not point.is_baseline, bool(point.group)))
    boxes = [*taken, *map(of_mark, marks.values()), *(box for spots in lines for box in of_line(spots))]
    return placed([(point.name, label_of(point), marks[point.name]) for point in order], boxes, limits)


def label_of(point: Point) -> str:
    """The label, and whether this is the arm chosen or the baseline."""
    if point.best:
        return f"{point.label} (best)"
    return f"{point.label} (baseline)" if point.is_baseline and point.label != "baseline" else point.label


def describe(found: Tradeoff) -> str:
    """The figure in words, smallest arm first."""
    text = "; ".join(f"{p.name}: {whole(p.size)} {found.unit}, F1 {points(p.f1)}" for p in found.points)
    text += "" if found.ceiling is None else f"; ceiling: F1 {points(found.ceiling)}"
    if found.reference is None:
        return f"{text}."
    name, size = found.reference
    return f"{text}; {name}: {whole(size)} {found.unit}."
