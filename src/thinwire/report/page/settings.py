"""The arms by their settings and sizes: which figures there are follows from what differs between the arms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thinwire.report.figures import data, grid, ladder, sensitivity, sizes, tradeoff
from thinwire.report.figures.changes import Ladder
from thinwire.report.figures.changes import ladder as changes
from thinwire.report.figures.settings import Curves, curves
from thinwire.report.page.markup import figure, paragraph, section
from thinwire.report.page.verdict import HALF, NARROW, WIDE


def settings(analysis: Mapping[str, Any]) -> str:
    """Single changes, lines along one setting, F1 against sizes, rank and layers."""
    level = data.confidence(analysis)
    rungs, cells, lines = changes(analysis), data.grid(analysis), curves(analysis)
    parts = [_ladder(rungs)] if rungs else []
    parts += [_curves(found, level) for found in lines if found.has_cosine]
    parts += [_tradeoff(found) for found in sizes.tradeoffs(analysis)]
    halves = [figure(grid.TITLE, "One strip an arm; darker is higher.", grid.draw(cells, HALF))] if cells else []
    halves += [_curves(found, level) for found in lines if not found.has_cosine]
    parts += [f'<div class="halves">{"".join(halves)}</div>'] if halves else []
    return section("settings", "Which settings?", *(parts or [paragraph("No arms to tell apart.", "empty")]))


def _ladder(found: Ladder) -> str:
    caption = (
        f"Bars go from the baseline's F1 to the arm's, with simultaneous {found.confidence} intervals of the "
        "difference; grey: the interval holds zero."
    )
    caption += " Each arm above the line changes one thing alone." if found.combined else ""
    return figure(ladder.TITLE, caption, ladder.draw(found, WIDE), ladder.draw(found, NARROW))


def _curves(found: Curves, level: str) -> str:
    """With the cosine beside it as wide as the page, else half as wide."""
    caption = f"With simultaneous {level} intervals: where these overlap widely, the order may be luck."
    caption += f" All with {found.shared}." if found.shared else ""
    if found.has_cosine:
        wide, narrow = sensitivity.draw(found, WIDE), sensitivity.draw(found, NARROW)
        return figure(sensitivity.title(found), caption, wide, narrow)
    return figure(sensitivity.title(found), caption, sensitivity.draw(found, HALF))


def _tradeoff(found: sizes.Tradeoff) -> str:
    if found.are_lines:
        caption = "Lines join arms that differ in one setting alone."
    elif found.groups:
        caption = "Shape and colour say which layers LoRA was on; the square without colour is the baseline."
    else:
        caption = "The square is the baseline, the diamond the arm chosen on the selection split."
    counted, line = _SIZES.get(found.key, ("", ""))
    if found.reference is None:
        line = ""
    caption = " ".join(part for part in (counted, caption, line) if part)
    return figure(found.title, caption, tradeoff.draw(found, WIDE), tradeoff.draw(found, NARROW))


_SIZES = {
    "bytes": ("Codes, adapter and codec together.", "The dotted line is the table without compression."),
    "bits": ("Integers packed, floats at the size of the model's own numbers.", "The dotted line is the token id."),
}
"""What a figure's sizes count, and what they are compared with."""
