"""A figure with its title and caption, as an element of a page or as a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from itertools import accumulate

from thinwire.report.figures.svg.elements import tag, text_at
from thinwire.report.figures.svg.palette import file_styles
from thinwire.report.figures.svg.text import wrapped

WIDE, NARROW, HALF = 912, 342, 400
"""Widths of drawings in pixels: a desktop's column, a phone's, and half a desktop's."""

_FONTS = "Liberation Sans, Arial, Helvetica, sans-serif"
"""Fonts of the same widths; the first comes with the library that converts files."""
_MARGIN, _TITLE_SIZE, _CAPTION_SIZE = 16, 15, 12


@dataclass(frozen=True)
class Drawing:
    """What a figure draws at one width: markup of its elements, and the same in words."""

    width: float
    height: float
    words: str
    markup: str


@dataclass(frozen=True)
class Figure:
    """One definition for the page and for files."""

    name: str
    """Names its file, and its element in the page."""
    title: str
    caption: str
    draw: Callable[[float], Drawing]
    width: float = WIDE
    """Where there is room for it; a wide figure has a narrow form for phones."""

    def element(self, width: float) -> str:
        """Return the drawing as an element of the page, whose style sheet has its colours."""
        drawn = self.draw(width)
        name = f"{self.name}-{width:g}"
        return tag(
            "svg",
            tag("desc", escape(drawn.words), id=f"{name}-text"),
            drawn.markup,
            id=name,
            aria_label=self.title,
            aria_describedby=f"{name}-text",
            **_size(drawn.width, drawn.height),
        )

    def file(self) -> str:
        """Return the figure as a file: title and caption above the drawing, light colours, its fonts named."""
        drawn = self.draw(self.width)
        lines = [("title", 22, text) for text in wrapped(self.title, drawn.width, _TITLE_SIZE * 1.12)]
        lines += [("caption", 17, text) for text in wrapped(self.caption, drawn.width, _CAPTION_SIZE)]
        bottoms = list(accumulate((height for _, height, _ in lines), initial=_MARGIN))
        top, width = bottoms[-1] + 8, drawn.width + 2 * _MARGIN
        svg = tag(
            "svg",
            tag("title", escape(self.title)),
            tag("desc", escape(drawn.words)),
            tag("style", f"\n{file_styles()}"),
            tag("rect", width="100%", height="100%", class_="page"),
            *(text_at(text, _MARGIN, y - 6, css) for (css, _, text), y in zip(lines, bottoms[1:], strict=True)),
            tag("g", drawn.markup, transform=f"translate({_MARGIN} {top})"),
            font_family=_FONTS,
            **_size(width, top + drawn.height + _MARGIN),
        )
        return svg.replace("><", ">\n<").replace(">\n<title>", "><title>") + "\n"


def _size(width: float, height: float) -> dict[str, str]:
    """Attributes of an SVG of a size."""
    size = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
    return {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size}
