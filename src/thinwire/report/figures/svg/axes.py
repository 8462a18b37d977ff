"""Scales, ticks, axes and legends."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from thinwire.report.figures.svg.elements import line, mark, path, text_at
from thinwire.report.figures.svg.palette import look
from thinwire.report.figures.svg.text import clipped, text_width


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
            parts += [line(left, y, right, y, "grid"), text_at(label, left - 7, y + 4.5, "tick", "end")]
        parts += [x_axis(self.x, self.x_ticks, (left, right), bottom, self.x_name)]
        parts += [text_at(self.y_name, self.edge, top - 12, "name")]
        return "".join(parts)


def x_axis(
    scale: Scale, ticks: Sequence[tuple[float, str]], span: tuple[float, float], bottom: float, name: str
) -> str:
    """A horizontal axis with ticks, labels and its name, 46 pixels high."""
    parts = [
        line(span[0], bottom, span[1], bottom, "axis"),
        text_at(name, sum(span) / 2, bottom + 38, "name", "middle"),
    ]
    for value, label in ticks:
        parts += [line(scale(value), bottom, scale(value), bottom + 5, "axis")]
        parts += [text_at(label, scale(value), bottom + 19, "tick", "middle")]
    return "".join(parts)


def above(name: str, value: str, width: float, y: float, bold: bool) -> str:
    """A name and its value at both ends of a line, above what is drawn of them on a narrow page."""
    weight = " strong" if bold else ""
    fitting = clipped(name, width - text_width(value, bold=bold) - 30, bold)
    return text_at(fitting, 8, y, f"label{weight}") + text_at(value, width - 8, y, f"value{weight}", "end")


def columns(widths: Sequence[float], texts: Sequence[str], left: float, y: float, css: str) -> str:
    """Texts at the right edges of columns beside a plot."""
    ends = accumulate(widths, initial=left)
    next(ends)
    return "".join(text_at(text, x, y, css, "end") for x, text in zip(ends, texts, strict=True))


def labelled(values: Sequence[float], write: Callable[[float], str]) -> list[tuple[float, str]]:
    """Ticks with their labels."""
    return [(value, write(value)) for value in values]


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
        parts += [mark(shape, middle, y - 4.5, css, 5), text_at(label, x + key, y, "tick")]
        x += size
    return "".join(parts), y - 12 if labels else -20.0
