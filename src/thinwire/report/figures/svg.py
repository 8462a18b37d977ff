"""The few pieces that all figures are drawn with: scales, ticks, tags, axes, marks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from thinwire.report.figures.palette import look

TEXT_SIZE = 13
_WIDTH_OF_A_LETTER = 0.56
"""In text sizes; the mean of common system fonts, as nothing can be measured here."""


@dataclass(frozen=True)
class Scale:
    """Maps a value to a position, linearly or by its logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self._inner(self.low), self._inner(self.high)
        share = 0.5 if high == low else (self._inner(value) - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def _inner(self, value: float) -> float:
        return math.log10(value) if self.log else value


_HALF_CROSS = [(-1.0, -0.4), (-0.4, -1.0), (0.0, -0.5), (0.4, -1.0), (1.0, -0.4), (0.5, 0.0)]
_CORNERS: dict[str, list[tuple[float, float]]] = {
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "triangle": [(0, -1.2), (1.15, 0.9), (-1.15, 0.9)],
    "diamond": [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
    "cross": [*_HALF_CROSS, *((-x, -y) for x, y in _HALF_CROSS)],
}


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) that cover ``low`` to ``high``, about ``count`` steps."""
    if not high > low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that cover ``low`` to ``high`` (both above 0)."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def tag(name: str, *children: str, **attributes: object) -> str:
    """An element. Children are markup; attribute values are escaped, numbers rounded to a tenth of a pixel."""
    written = "".join(f' {_name(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    return f"<{name}{written}>{''.join(children)}</{name}>" if children else f"<{name}{written}/>"


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else escape(str(value))


def words(text: str, x: float, y: float, css: str = "", anchor: str | None = None, title: str = "") -> str:
    """Text at a position; ``anchor`` is ``middle`` or ``end``, ``title`` what ``tip`` makes."""
    return tag("text", title + escape(text), x=float(x), y=float(y), class_=css or None, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, css: str, **attributes: object) -> str:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=css, **attributes)


def rect(x: float, y: float, width: float, height: float, css: str, **attributes: object) -> str:
    """A rectangle; what would be wider or higher than nothing by less than nothing is nothing."""
    size = {"width": max(0.0, float(width)), "height": max(0.0, float(height))}
    return tag("rect", x=float(x), y=float(y), class_=css, **size, **attributes)


def path(points: Sequence[tuple[float, float]], css: str, **attributes: object) -> str:
    """A line through points."""
    steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return tag("polyline", points=steps, class_=css, **attributes)


def tip(text: str) -> str:
    """A text that a browser shows when the element around it is pointed at."""
    return tag("title", escape(text))


def mark(shape: str, x: float, y: float, css: str, size: float = 5.0, pointed: str = "") -> str:
    """A symbol centred on a point, with a text that shows when pointed at."""
    title = tip(pointed) if pointed else ""
    place = {"class_": f"mark {css}", "data_x": float(x), "data_y": float(y)}
    if shape in ("circle", "ring"):
        ring = {"fill": "none"} if shape == "ring" else {}
        return tag("circle", title, cx=float(x), cy=float(y), r=size, **place, **ring)
    steps = " ".join(f"{x + dx * size * 0.92:.1f},{y + dy * size * 0.92:.1f}" for dx, dy in _CORNERS[shape])
    return tag("polygon", title, points=steps, **place)


def text_width(text: str, size: float = TEXT_SIZE) -> float:
    """About how wide a text is drawn."""
    return len(text) * size * _WIDTH_OF_A_LETTER


def clipped(text: str, width: float) -> str:
    """The text, cut with an ellipsis if it is wider than that."""
    if text_width(text) <= width:
        return text
    return text[: max(1, int(width / (TEXT_SIZE * _WIDTH_OF_A_LETTER)) - 1)] + "…"


@dataclass(frozen=True)
class Axes:
    """A plot's two scales, its ticks and the names of its axes."""

    x: Scale
    y: Scale
    x_name: str
    y_name: str
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    edge: float = 0.0
    """Where the plot's own part of the figure begins."""

    def draw(self) -> str:
        """Grid, ticks and names. The vertical axis is named above it: turned text is hard to read."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        parts = []
        for value, label in self.y_ticks:
            y = self.y(value)
            parts += [line(left, y, right, y, "grid"), words(label, left - 7, y + 4.5, "tick", "end")]
        for value, label in self.x_ticks:
            parts += [line(self.x(value), bottom, self.x(value), bottom + 5, "axis")]
            parts += [words(label, self.x(value), bottom + 19, "tick", "middle")]
        parts += [line(left, bottom, right, bottom, "axis")]
        parts += [words(self.x_name, (left + right) / 2, bottom + 38, "name", "middle")]
        parts += [words(self.y_name, self.edge, top - 12, "name")]
        return "".join(parts)


def labelled(values: Sequence[float], write: Callable[[float], str]) -> list[tuple[float, str]]:
    """Ticks with their labels."""
    return [(value, write(value)) for value in values]


def drawing(name: str, width: float, height: float, title: str, description: str, *children: str) -> str:
    """A whole figure with its title and text alternative; ``name`` must be unique in the page."""
    return tag(
        "svg",
        tag("desc", escape(description), id=f"{name}-text"),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        id=name,
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        height=f"{height:g}",
        role="img",
        aria_label=title,
        aria_describedby=f"{name}-text",
    )


def legend(labels: Sequence[str], width: float, dashed: bool = False) -> tuple[str, float]:
    """Keys from left to right, wrapped, and by how much they are higher than one row; with dashes, keys for lines."""
    parts, x, y = [], 6.0, 12.0
    key = 34.0 if dashed else 12.0
    for number, label in enumerate(labels):
        size = text_width(label) + key + 22
        if x + size - 22 > width and x > 6:
            x, y = 6.0, y + 20
        colour, shape, dash = look(number)
        css, middle = f"key c{colour}", x + key / 2 - 6
        if dashed:
            sample = [(x - 6, y - 4.5), (x + key - 6, y - 4.5)]
            parts.append(path(sample, f"curve c{colour}", stroke_dasharray=dash or None))
        parts += [mark(shape, middle, y - 4.5, css, 5), words(label, x + key, y, "tick")]
        x += size
    return "".join(parts), y - 12 if labels else -20.0


def stacked(spans: Sequence[tuple[float, float]]) -> list[int]:
    """For each span, from left to right, the lowest level at which it meets no earlier one."""
    ends: list[float] = []
    levels = []
    for start, end in spans:
        level = next((i for i, last in enumerate(ends) if start > last), len(ends))
        ends = [*ends[:level], end, *ends[level + 1 :]]
        levels.append(level)
    return levels
