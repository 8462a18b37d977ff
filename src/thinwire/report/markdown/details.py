"""What both Markdown sections say below their tables of arms: interactions, what fewer positions save, and why answers
are not healthy."""

from __future__ import annotations

from thinwire.report import interaction_table, savings_table
from thinwire.report.analysis_record import Analysis
from thinwire.report.caveats import first_seed
from thinwire.report.markdown.tables import line


def interactions(analysis: Analysis) -> str:
    """Write the interactions as a table with its legend; nothing where there are none."""
    if not analysis.interactions:
        return ""
    lines = [
        line(["interaction", "of", *interaction_table.HEADS]),
        line(["---", "---", "---", "---", "---", "---:"]),
        *(
            line([one.name, interaction_table.members(one), *interaction_table.numbers(one)])
            for one in analysis.interactions
        ),
    ]
    return "\n".join(["Interactions:", "", *lines, "", interaction_table.legend(analysis.task)])


def savings(analysis: Analysis) -> str:
    """Write what fewer positions save as a table with its legend; nothing in a sweep where no prompt takes fewer."""
    found = savings_table.cells(analysis)
    if not found:
        return ""
    head, *rows = found
    lines = [line(head), line(["---", *("---:" for _ in head[1:])]), *map(line, rows)]
    return "\n".join(["What fewer positions save:", "", *lines, "", savings_table.legend(analysis.task)])


def findings(analysis: Analysis) -> str:
    """Say why answers that are not healthy are not, a line for each arm or control."""
    found = [(row.name, row.degeneration) for row in analysis.rows if row.degeneration]
    lines = [f"- {name}: {one.finding}, {', '.join(one.reasons)}" for name, one in found if one.reasons]
    return "\n".join([f"Answers{first_seed(analysis)} that are not healthy:", "", *lines]) if lines else ""
