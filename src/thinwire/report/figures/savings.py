"""The score against positions and against time: what is lost where several tokens share a position, and what saved."""

from __future__ import annotations

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.savings import curves_of_savings
from thinwire.report.figures.svg.figure import Figure
from thinwire.report.figures.tradeoff import drawn


def figures(analysis: Analysis) -> list[Figure]:
    """The curves of a sweep with blocks; none of others."""
    return [drawn(found) for found in curves_of_savings(analysis)]
