"""Places labels beside their marks, the most important first, clear of all that is drawn."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from thinwire.report.figures.svg.text import TEXT_SIZE

Spot = tuple[float, float]
"""x and y; y grows downwards."""
Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""

_EVERY = 8.0
"""Pixels between the boxes that stand for a line."""


def of_mark(spot: Spot, reach: float = 6.0) -> Box:
    """What a mark takes that reaches so far from its middle."""
    return spot[0] - reach, spot[1] - reach, spot[0] + reach, spot[1] + reach


def of_line(spots: Sequence[Spot]) -> list[Box]:
    """What a line through points takes."""
    boxes = []
    for (x1, y1), (x2, y2) in pairwise(spots):
        steps = max(1, int(max(abs(x2 - x1), abs(y2 - y1)) / _EVERY))
        places = ((x1 + (x2 - x1) * n / steps, y1 + (y2 - y1) * n / steps) for n in range(steps + 1))
        boxes += [(x - 2, y - 2, x + 2, y + 2) for x, y in places]
    return boxes


def placed(
    wanted: Iterable[tuple[str, float, Spot]], taken: Sequence[Box], limits: Box, levels: int = 1
) -> dict[str, Spot]:
    """Left end and middle of each label by its name: beside, above or below its mark, within the limits.

    A label that fits nowhere is left out: the mark says it when pointed at.

    Args:
        wanted: name, width of the label and mark, the most important first.
        levels: how many labels may stand above a mark, one over the other, and how many below.
    """
    found: dict[str, Spot] = {}
    rows: dict[int, list[Box]] = defaultdict(list)
    for box in taken:
        _enter(box, rows)
    for name, label_width, (x, y) in wanted:
        width = label_width + 2
        beside = [(x + 10, y), (x - width - 9, y)]
        downs = [side * (15 + 14 * level) for level in range(levels) for side in (-1, 1)]
        stacked = [(left, y + down) for left in (x - width / 2, x + 9 - width, x - 9) for down in downs]
        for left, middle in beside + stacked:
            box = (left, middle - TEXT_SIZE / 2, left + width, middle + TEXT_SIZE / 2)
            inside = box[0] > limits[0] and box[1] > limits[1] and box[2] < limits[2] and box[3] < limits[3]
            if inside and not any(meet(box, other) for row in _rows(box) for other in rows.get(row, ())):
                _enter(box, rows)
                found[name] = (left, middle)
                break
    return found


def stacked(spans: Sequence[tuple[float, float]]) -> list[int]:
    """For each span, from left to right, the lowest level at which it meets no earlier one."""
    ends: list[float] = []
    levels = []
    for start, end in spans:
        level = next((i for i, last in enumerate(ends) if start > last), len(ends))
        ends = [*ends[:level], end, *ends[level + 1 :]]
        levels.append(level)
    return levels


_ROW = 16
"""Height of a strip of the drawing; boxes are compared with those that share a strip with them."""


def _rows(box: Box) -> range:
    return range(math.floor(box[1] / _ROW), math.floor(box[3] / _ROW) + 1)


def _enter(box: Box, rows: dict[int, list[Box]]) -> None:
    for row in _rows(box):
        rows[row].append(box)


def meet(one: Box, other: Box) -> bool:
    """Return whether two boxes share a point."""
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]
