"""Colours that stay apart for every kind of colour vision (Okabe and Ito, 2008), for white and for dark pages.

The dark set is the same hues, lightened where they would sink into a dark page. Colour never carries a meaning alone:
marks differ in shape or dash as well.
"""

LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b8689a", "#b57f00", "#3a8fc4")
DARK = ("#5cb3ea", "#f08a3c", "#33c79a", "#dd9fc3", "#e6b54a", "#8fcdf2")
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2", "1 2")


def look(number: int) -> tuple[int, str, str]:
    """Number of the colour, shape and dash of a series; from the seventh on, shape and dash move on by one."""
    colour, turn = number % len(LIGHT), number // len(LIGHT)
    return colour, SHAPES[(colour + turn) % len(SHAPES)], DASHES[(colour + turn) % len(DASHES)]


def style_sheet() -> str:
    """The colours as custom properties ``--c0`` to ``--c5``, for light and dark pages."""
    light = "".join(f"--c{i}:{colour};" for i, colour in enumerate(LIGHT))
    dark = "".join(f"--c{i}:{colour};" for i, colour in enumerate(DARK))
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
