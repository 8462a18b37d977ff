"""Widths of texts, so that labels get the room they need: nothing can be measured where the page is written."""

from __future__ import annotations

TEXT_SIZE = 13

_WIDTHS = (
    "27' 28ijl 29IJ 32,.· 34/:;\\| 35f 36- 39()[]t 40! 41r 46\" 50*_`\u2013 52sz 53? 55c 56L 58Fk 59vxy 60P 61TYao 62e "
    "63ESbdghnpqu 64$0123456789{} 66K\u03b1 68AV\u0394 69BRXZ 70C 73U 75HN 77DG 78& 79OQ 82w 84#+<=>^~\u2212\u00d7 "
    "86M 95% 97m 99W@…"
)
"""Advance widths of DejaVu Sans, of the usual interface fonts the widest: hundredths of the text size, and letters."""

_WIDTH_OF = {" ": 0.32, **{letter: int(group[:2]) / 100 for group in _WIDTHS.split() for letter in group[2:]}}
_BOLD = 1.12
"""How much wider bold text is."""


def text_width(text: str, size: float = TEXT_SIZE, bold: bool = False) -> float:
    """Most pixels that a text takes in any of the usual fonts."""
    return sum(_WIDTH_OF.get(letter, 1.0) for letter in text) * size * (_BOLD if bold else 1.0)


def clipped(text: str, width: float, bold: bool = False) -> str:
    """The text, cut with an ellipsis if it is wider than ``width``."""
    if text_width(text, bold=bold) <= width:
        return text
    while len(text) > 1 and text_width(f"{text}…", bold=bold) > width:
        text = text[:-1]
    return f"{text}…"


def wrapped(text: str, width: float, size: float = TEXT_SIZE) -> list[str]:
    """The lines of a text that is broken between words to fit ``width``."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
