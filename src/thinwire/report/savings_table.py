"""What fewer positions save, as a table beside the score: the same numbers in the summary and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.report.analysis_record import Analysis
from thinwire.report.markdown.tables import points
from thinwire.report.rows import AnalysisRow, PromptCosts
from thinwire.report.score_words import rate_caveat
from thinwire.tasks.task import Task

HEADS = ("tokens", "positions", "GFLOPs", "encoder", "KV MB", "seconds", "questions/s")

_LEGEND = (
    "Means over the test prompts. GFLOPs: of the model's layers for a whole prompt; encoder: GFLOPs for its blocks; "
    "KV MB: keys and values of the prompt; seconds and questions/s: of the scored test questions, their blocks "
    "encoded, as measured in this sweep, in which prompts with a common beginning share its cost."
)


def legend(task: Task) -> str:
    """Say what the columns mean, and what the rate depends on beside the arm's speed."""
    return " ".join(filter(None, (_LEGEND, rate_caveat(task))))


def rows_with_costs(analysis: Analysis) -> list[AnalysisRow]:
    """Return the arms and controls whose costs are known, the highest score first; none in a sweep where no prompt
    takes fewer."""
    found = [row for row in analysis.rows if row.prompt_costs is not None]
    return sorted(found, key=lambda row: -row.done_score)


def cells(analysis: Analysis) -> list[list[str]]:
    """Write the table: its head, and a line for each arm and control; empty in a sweep where no prompt takes fewer."""
    rows = rows_with_costs(analysis)
    lines = [[row.name, points(row.score), *_numbers(row.prompt_costs)] for row in rows if row.prompt_costs]
    return [["configuration", analysis.task.label, *HEADS], *lines] if lines else []


def _numbers(costs: PromptCosts) -> Sequence[str]:
    return (
        f"{costs.tokens:,.0f}",
        f"{costs.positions:,.0f}",
        _scaled(costs.prefill_flops, 1e9),
        _scaled(costs.encoder_flops, 1e9),
        _scaled(costs.cache_bytes, 1e6),
        _scaled(costs.seconds),
        _scaled(costs.questions_per_second),
    )


def _scaled(value: float | None, unit: float = 1.0) -> str:
    """Write a number in its unit with three digits, or all before the point where these are more."""
    if value is None:
        return ""
    number = value / unit
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
