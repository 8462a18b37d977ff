"""F1 against what was trained: does a larger LoRA buy more?"""

from thinwire.report.figures.data import Point, layer_groups
from thinwire.report.figures.palette import SHAPES
from thinwire.report.figures.svg import (
    Axes,
    Scale,
    drawing,
    labelled,
    line,
    log_ticks,
    mark,
    nice_ticks,
    text_width,
    words,
)
from thinwire.report.numbers import points, short, whole

TITLE = "F1 against trainable parameters"
X_AXIS = "trainable parameters, adapter and LoRA"
Y_AXIS = "F1 (points)"
_LOG_FROM = 12
"""With a wider range of sizes than this, the axis is logarithmic."""


def is_log(found: list[Point]) -> bool:
    """Whether the sizes of the arms span so much that a linear axis would crowd the small ones."""
    return found[-1].params > _LOG_FROM * found[0].params


def draw(found: list[Point], ceiling: float | None, width: float) -> str:
    """Arms as marks, shape and colour by layers; the ceiling as a line."""
    groups = layer_groups(found)
    legend = _legend(groups, width)
    top, left, right, height = 44 + legend[1], 46.0, width - 22, 300 if width >= 600 else 260
    log = is_log(found)
    sizes = [point.params for point in found]
    ticks = log_ticks(sizes[0], sizes[-1]) if log else nice_ticks(sizes[0], sizes[-1], 4 if width < 600 else 7)
    scores = [point.f1 for point in found] + ([] if ceiling is None else [ceiling])
    y_ticks = nice_ticks(min(scores), max(scores), 5)
    bottom = float(top + height)
    x, y = Scale(ticks[0], ticks[-1], left, right, log), Scale(y_ticks[0], y_ticks[-1], bottom, top)
    y_labels = labelled(y_ticks, lambda value: f"{100 * value:g}")
    axes = Axes(x, y, X_AXIS, Y_AXIS, labelled(ticks, short), y_labels)
    parts = [legend[0], axes.draw()]
    if ceiling is not None:
        parts += [line(left, y(ceiling), right, y(ceiling), "ceiling")]
        parts += [words(f"ceiling {points(ceiling)}", right, y(ceiling) + 16, "tick", "end")]
    parts += [_marks(found, groups, x, y, right)]
    return drawing(f"parameters-{width:g}", width, bottom + 46, TITLE, describe(found, ceiling), *parts)


def _marks(found: list[Point], groups: list[str], x: Scale, y: Scale, right: float) -> str:
    parts = []
    taken = [(x(p.params) - 6, y(p.f1) - 6, x(p.params) + 6, y(p.f1) + 6) for p in found]
    for point in sorted(found, key=lambda p: (not p.best, not p.is_baseline)):  # these two must have their labels
        tip = f"{point.name}: F1 {points(point.f1)}, {whole(point.params)} parameters"
        if point.layers in groups:
            number = groups.index(point.layers) % len(SHAPES)
            parts.append(mark(SHAPES[number], x(point.params), y(point.f1), f"c{number}", 5.5, tip))
        else:
            parts.append(mark("square", x(point.params), y(point.f1), "ink", 5, tip))
        label = point.label + (" (best)" if point.best else "")
        spot = _free_spot(label, x(point.params), y(point.f1), taken, right)
        if spot:
            css = "value strong" if point.best else "tick"
            parts.append(words(label, spot[0], spot[1], css))
    return "".join(parts)


def _free_spot(
    label: str, x: float, y: float, taken: list[tuple[float, float, float, float]], right: float
) -> tuple[float, float] | None:
    """Beside, above or below the mark where nothing else is; a label that fits nowhere is left to the pointer."""
    width = text_width(label) + 2
    for left, middle in ((x + 10, y), (x - width - 9, y), (x - width / 2, y - 15), (x - width / 2, y + 15)):
        box = (left, middle - 7, left + width, middle + 7)
        free = all(box[0] > b[2] or box[2] < b[0] or box[1] > b[3] or box[3] < b[1] for b in taken)
        if free and left > 40 and box[2] < right + 20:
            taken.append(box)
            return left, middle + 4.5
    return None


def _legend(groups: list[str], width: float) -> tuple[str, float]:
    """Keys from left to right, wrapped, and the height of the rows after the first."""
    parts, x, y = [], 6.0, 12.0
    for number, group in enumerate(groups):
        size = text_width(group) + 34
        if x + size > width and x > 6:
            x, y = 6.0, y + 20
        shape = number % len(SHAPES)
        parts += [mark(SHAPES[shape], x, y - 4.5, f"key c{shape}", 5.5), words(group, x + 12, y, "tick")]
        x += size
    return "".join(parts), y - 12


def describe(found: list[Point], ceiling: float | None) -> str:
    """The figure in words, smallest arm first."""
    text = "; ".join(f"{p.name}: {whole(p.params)} parameters, F1 {points(p.f1)}" for p in found)
    return text + ("." if ceiling is None else f"; ceiling: F1 {points(ceiling)}.")
