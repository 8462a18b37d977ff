"""The arms by their settings and sizes: which figures there are follows from what differs between the arms."""

from __future__ import annotations

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures import grid, ladder, sensitivity, tradeoff
from thinwire.report.figures.svg.figure import WIDE
from thinwire.report.html.markup import figure, paragraph, section


def settings(analysis: Analysis) -> str:
    """Single changes, lines along one setting, the score against sizes, rank and layers: wide figures first."""
    along = sensitivity.figures(analysis)
    wide = [ladder.figure(analysis), *(one for one in along if one.width == WIDE), *tradeoff.figures(analysis)]
    half = [grid.figure(analysis), *(one for one in along if one.width < WIDE)]
    parts = [figure(one) for one in wide if one is not None]
    if halves := [figure(one) for one in half if one is not None]:
        parts.append(f'<div class="halves">{"".join(halves)}</div>')
    return section("settings", "Which settings?", *(parts or [paragraph("No arms to tell apart.", "empty")]))
