"""The elements that figures are made of, as markup: texts, lines, marks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_HALF_CROSS = [(-1.0, -0.4), (-0.4, -1.0), (0.0, -0.5), (0.4, -1.0), (1.0, -0.4), (0.5, 0.0)]
_CORNERS: dict[str, list[tuple[float, float]]] = {
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "triangle": [(0, -1.2), (1.15, 0.9), (-1.15, 0.9)],
    "diamond": [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
    "cross": [*_HALF_CROSS, *((-x, -y) for x, y in _HALF_CROSS)],
}


def tag(name: str, *children: str, **attributes: object) -> str:
    """An element. Children are markup; attribute values are escaped, numbers rounded to a tenth of a pixel."""
    written = "".join(f' {_name(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    return f"<{name}{written}>{''.join(children)}</{name}>" if children else f"<{name}{written}/>"


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else escape(str(value))


def text_at(text: str, x: float, y: float, css: str = "", anchor: str | None = None, title: str = "") -> str:
    """Text at a position; ``anchor`` is ``middle`` or ``end``, ``title`` the markup of a ``tip``."""
    return tag("text", title + escape(text), x=float(x), y=float(y), class_=css or None, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, css: str, **attributes: object) -> str:
    """A straight line."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=css, **attributes)


def rect(x: float, y: float, width: float, height: float, css: str, **attributes: object) -> str:
    """A rectangle; negative sizes are clamped to 0."""
    size = {"width": max(0.0, float(width)), "height": max(0.0, float(height))}
    return tag("rect", x=float(x), y=float(y), class_=css, **size, **attributes)


def path(points: Sequence[tuple[float, float]], css: str, **attributes: object) -> str:
    """A line through points."""
    steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return tag("polyline", points=steps, class_=css, **attributes)


def tip(text: str) -> str:
    """A text that a browser shows when the element around it is pointed at."""
    return tag("title", escape(text))


def mark(
    shape: str, x: float, y: float, css: str, size: float = 5.0, pointed: str = "", *, is_filled: bool = True
) -> str:
    """A symbol centred on a point, with a text that shows when pointed at; unfilled, it is drawn as a line is."""
    title = tip(pointed) if pointed else ""
    place = {"class_": f"{'mark' if is_filled else 'curve'} {css}", "data_x": float(x), "data_y": float(y)}
    if not is_filled:
        place["pointer_events"] = "all"
    if shape in ("circle", "ring"):
        ring = {"fill": "none"} if shape == "ring" else {}
        return tag("circle", title, cx=float(x), cy=float(y), r=size, **place, **ring)
    steps = " ".join(f"{x + dx * size * 0.92:.1f},{y + dy * size * 0.92:.1f}" for dx, dy in _CORNERS[shape])
    return tag("polygon", title, points=steps, **place)
