"""The score against what an arm takes: does a larger one buy more?"""

from collections.abc import Mapping, Sequence
from functools import partial

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.sizes import Point, Tradeoff, tradeoffs
from thinwire.report.figures.svg.axes import Axes, Scale, labelled, legend, log_ticks, nice_ticks
from thinwire.report.figures.svg.elements import line, mark, path, text_at
from thinwire.report.figures.svg.figure import Drawing, Figure
from thinwire.report.figures.svg.labels import Box, Spot, meet, of_line, of_mark, placed
from thinwire.report.figures.svg.palette import look
from thinwire.report.figures.svg.text import text_width
from thinwire.report.formatting import points, short, whole

Y_AXIS = "{} (points)"
LONE = {
    (True, True): ("square", "best"),
    (True, False): ("square", "ink"),
    (False, True): ("diamond", "best"),
    (False, False): ("circle", "soft"),
}
"""Shape and class of an arm of no one group, by whether it is the baseline and whether it was chosen."""
_TOGETHER = 6.0
"""Marks whose middles are nearer than this, in pixels, would cover each other: they are nested, and unfilled."""
_NESTED = 8.0
"""Size of the outermost of nested marks."""
_LOG_FROM = 12
"""With a wider range of sizes than this, the axis is logarithmic."""


_COUNTED = {
    "positions": ("Means over the test prompts; in text, every token has a position.", ""),
    "speed": ("Scored test questions, their blocks encoded, as measured in this sweep.", ""),
    "bytes": ("Codes, adapter and codec together.", "The dotted line is the embedding matrix without compression."),
    "bits": ("Integers packed, floats at the size of the model's own numbers.", "The dotted line is the token id."),
}
"""What a figure's sizes count, and what they are compared with."""


def figures(analysis: Analysis) -> list[Figure]:
    """A figure for each size of which the arms have at least three."""
    return [drawn(found) for found in tradeoffs(analysis)]


def drawn(found: Tradeoff) -> Figure:
    """The figure of arms by one size."""
    return Figure(found.key, found.title, _caption(found), partial(draw, found))


def _caption(found: Tradeoff) -> str:
    if found.are_lines:
        groups = "Lines join arms that differ in one setting alone."
    elif found.groups:
        groups = "Shape and colour are those of the key"
        groups += "" if any(p.is_baseline and p.group for p in found.points) else "; the black square is the baseline"
        groups += "."
    else:
        groups = "The square is the baseline, the diamond the arm chosen on the selection split."
    counted, line_text = _COUNTED.get(found.key, ("", ""))
    return " ".join(filter(None, (counted, found.note, groups, line_text if found.reference is not None else "")))


def is_log(found: Tradeoff) -> bool:
    """Whether the sizes of the arms span so much that a linear axis would crowd the small ones."""
    return found.points[-1].size > _LOG_FROM * found.points[0].size


def draw(found: Tradeoff, width: float) -> Drawing:
    """Arms as marks, shape and colour by group; the ceiling and the size to compare with as lines."""
    keys, rows = legend(found.groups, width, dashed=found.are_lines)
    top, left, right, height = 44 + rows, 46.0, width - 22, 300 if width >= 600 else 260
    log = is_log(found)
    sizes = [point.size for point in found.points] + ([] if found.reference is None else [found.reference[1]])
    low, high = min(sizes), max(sizes)
    ticks = log_ticks(low, high) if log else nice_ticks(low, high, 4 if width < 600 else 7)
    scores = [point.score for point in found.points] + ([] if found.ceiling is None else [found.ceiling])
    y_ticks = nice_ticks(min(scores), max(scores), 5)
    bottom = float(top + height)
    x, y = Scale(ticks[0], ticks[-1], left, right, log), Scale(y_ticks[0], y_ticks[-1], bottom, top)
    y_labels = labelled(y_ticks, lambda value: f"{100 * value:g}")
    parts = [keys, Axes(x, y, found.axis, Y_AXIS.format(found.metric), labelled(ticks, short), y_labels).draw()]
    marks = {point.name: (x(point.size), y(point.score)) for point in found.points}
    lines = [[marks[name] for name in names] for names in found.lines]
    references, taken = _references(found, x, y, list(marks.values()))
    parts += [references, *(_line(number, spots) for number, spots in enumerate(lines))]
    nested = _nested(marks) if found.nests else {}
    parts += [_mark(point, found, marks[point.name], nested.get(point.name)) for point in found.points]
    parts += [_labels(found, marks, nested, lines, taken, (left - 6, 0, right + 20, bottom))]
    return Drawing(width, bottom + 46, describe(found), "".join(parts))


def _references(found: Tradeoff, x: Scale, y: Scale, marks: Sequence[Spot]) -> tuple[str, list[Box]]:
    """The lines, and what their labels take: at the right end and below, or where they meet the fewest marks."""
    parts: list[str] = []
    taken: list[Box] = []
    if found.ceiling is not None:
        height, label = y(found.ceiling), f"ceiling {points(found.ceiling)}"
        wide, boxes = text_width(label), [of_mark(spot) for spot in marks]
        places = [(left, height + down) for left in (x.end - wide, x.start + 4) for down in (3, -18)]
        around = [(left, top, min(left + wide, x.end), top + 16) for left, top in places]
        box = min(around, key=lambda place: sum(meet(place, other) for other in boxes))
        at, anchor = (x.end, "end") if box[2] == x.end else (box[0], None)
        parts += [line(x.start, height, x.end, height, "ceiling"), text_at(label, at, box[1] + 13, "tick", anchor)]
        taken += of_line([(x.start, height), (x.end, height)])
        taken.append((box[0], min(box[1], height - 2), box[2], max(box[3], height + 2)))
    if found.reference is not None:
        label, place = found.reference[0], x(found.reference[1])
        wide = text_width(label) + 9
        on_left = place - wide >= x.start
        parts += [line(place, y.start, place, y.end, "threshold")]
        taken += of_line([(place, y.start), (place, y.end)])
        parts += [text_at(label, place - 9 if on_left else place + 9, y.start - 7, "tick", "end" if on_left else None)]
        taken.append((place - wide * on_left, y.start - 20, place + wide * (not on_left), y.start))
    return "".join(parts), taken


def _line(number: int, spots: list[Spot]) -> str:
    colour, _, dash = look(number)
    return path(spots, f"curve c{colour}", stroke_dasharray=dash or None)


def _nested(marks: Mapping[str, Spot]) -> dict[str, float]:
    """Sizes of the marks that would cover each other, the first of a place the largest; other marks have none."""
    sizes = {}
    for name, spot in marks.items():
        here = [other for other, its in marks.items() if max(abs(its[0] - spot[0]), abs(its[1] - spot[1])) < _TOGETHER]
        if len(here) > 1:
            sizes[name] = _NESTED * (len(here) - here.index(name)) / len(here)
    return sizes


def _mark(point: Point, found: Tradeoff, spot: Spot, nested: float | None) -> str:
    """The mark of an arm; an unfilled one of size ``nested`` where others are at its place."""
    tip = f"{point.name}: {found.metric} {points(point.score)}, {whole(point.size)} {found.unit}"
    if point.group:
        colour, shape, _ = look(found.groups.index(point.group))
        return mark(shape, *spot, f"c{colour}", nested or 5.5, tip, is_filled=nested is None)
    shape, css = LONE[point.is_baseline, point.best]
    return mark(shape, *spot, css, nested or 5, tip, is_filled=nested is None)


def _labels(
    found: Tradeoff,
    marks: Mapping[str, Spot],
    nested: Mapping[str, float],
    lines: Sequence[Sequence[Spot]],
    taken: Sequence[Box],
    limits: Box,
) -> str:
    """Labels of the arms, clear of marks and lines: best arm and baseline first, then those in no group (long ones)."""
    order = sorted(found.points, key=lambda point: (not point.best, not point.is_baseline, bool(point.group)))
    around = [of_mark(spot, _NESTED if name in nested else 6.0) for name, spot in marks.items()]
    boxes = [*taken, *around, *(box for spots in lines for box in of_line(spots))]
    wanted = [(point.name, text_width(label_of(point), bold=point.best), marks[point.name]) for point in order]
    there = placed(wanted, boxes, limits, levels=2 if found.nests else 1)
    parts = []
    for point in found.points:
        if point.name in there:
            left, middle = there[point.name]
            parts.append(text_at(label_of(point), left, middle + 4.5, "value strong" if point.best else "tick"))
    return "".join(parts)


def label_of(point: Point) -> str:
    """The label, and whether this is the arm chosen or the baseline."""
    if point.best:
        return f"{point.label} (best)"
    return f"{point.label} (baseline)" if point.is_baseline and point.label != "baseline" else point.label


def describe(found: Tradeoff) -> str:
    """The figure in words, smallest arm first."""
    metric = found.metric
    text = "; ".join(f"{p.name}: {whole(p.size)} {found.unit}, {metric} {points(p.score)}" for p in found.points)
    text += "" if found.ceiling is None else f"; ceiling: {metric} {points(found.ceiling)}"
    if found.reference is None:
        return f"{text}."
    name, size = found.reference
    return f"{text}; {name}: {whole(size)} {found.unit}."
