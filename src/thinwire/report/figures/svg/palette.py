"""Colours of page and figures, for light and for dark screens.

The colours of series stay apart for every kind of colour vision (Okabe and Ito, 2008); the dark set is the same hues,
lightened where they would sink into a dark page. Colour never carries a meaning alone: marks differ in shape or dash as
well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_NAMES = ["page", "panel", "ink", "soft", "rule", "faint", "good", "fair", "bad", "c0", "c1", "c2", "c3", "c4", "c5"]
_LIGHT = (
    "#ffffff #f5f6f7 #1b1f24 #57606a #d5d9de #c3c9d0 #00664b #7d5600 #a63c06 "
    "#0072b2 #d55e00 #009e73 #b8689a #b57f00 #3a8fc4"
)
_DARK = (
    "#14171a #1d2125 #e6e8ea #a2abb4 #363c43 #4b535c #4fd1a8 #e6b54a #f59b5c "
    "#5cb3ea #f08a3c #33c79a #dd9fc3 #e6b54a #8fcdf2"
)
LIGHT = dict(zip(_NAMES, _LIGHT.split(), strict=True))
DARK = dict(zip(_NAMES, _DARK.split(), strict=True))
NUM_SERIES = 6
"""Colours of series, ``c0`` and on; the first is also that of the arm chosen."""
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2", "1 2")


def look(number: int) -> tuple[int, str, str]:
    """Number of the colour, shape and dash of a series; from the seventh on, shape and dash move on by one."""
    colour, turn = number % NUM_SERIES, number // NUM_SERIES
    return colour, SHAPES[(colour + turn) % len(SHAPES)], DASHES[(colour + turn) % len(DASHES)]


def page_styles() -> str:
    """The colours as custom properties, for light and dark screens, and the style sheet of the figures."""
    dark = f"@media screen and (prefers-color-scheme:dark){{{_properties(DARK)}}}"
    return f"{_properties(LIGHT)}\n{dark}\n{_figure_styles()}"


def file_styles() -> str:
    """The style sheet of the figures with the light colours in it, for figures in files of their own."""
    return re.sub(r"var\(--(\w+)\)", lambda found: LIGHT[found[1]], _figure_styles())


def _figure_styles() -> str:
    return files("thinwire.report.figures.svg").joinpath("figures.css").read_text(encoding="utf-8")


def _properties(colours: Mapping[str, str]) -> str:
    return ":root{" + "".join(f"--{name}:{colour};" for name, colour in colours.items()) + "}"
