"""What fewer positions save, beside the score: two curves, and a table with every arm and control."""

from __future__ import annotations

from thinwire.report import savings_table
from thinwire.report.analysis_record import Analysis
from thinwire.report.figures import savings as curves
from thinwire.report.formatting import MISSING, points, whole
from thinwire.report.html.markup import HtmlCell, HtmlColumn, figure, section, table, text
from thinwire.report.rows import AnalysisRow, PromptCosts

_COLUMNS = (
    ("tokens", "tokens", "of a test prompt, mean", 1.0),
    ("positions", "positions", "of a test prompt, mean", 1.0),
    ("prefill_flops", "GFLOPs", "of the model's layers for a whole prompt", 1e9),
    ("encoder_flops", "encoder GFLOPs", "for the blocks of a prompt", 1e9),
    ("cache_bytes", "KV MB", "keys and values of a prompt", 1e6),
    ("seconds", "seconds", "for the scored test questions, their blocks encoded", 1.0),
    ("questions_per_second", "questions/s", "scored test questions", 1.0),
)


def savings(analysis: Analysis) -> str:
    """The section; nothing in a sweep where no prompt takes fewer."""
    rows = savings_table.rows_with_costs(analysis)
    if not rows:
        return ""
    columns = [HtmlColumn(name="configuration", numeric=False), HtmlColumn(name=analysis.task.label)]
    columns += [HtmlColumn(name=name, hint=hint) for _, name, hint, _ in _COLUMNS]
    found = [
        (f"{row.kind}{' chosen' if row.best else ''}", _cells(row, row.prompt_costs))
        for row in rows
        if row.prompt_costs
    ]
    caption = f"{savings_table.legend(analysis.task)} A column's heading sorts by it."
    drawn = [figure(one) for one in curves.figures(analysis)]
    return section("savings", "What fewer positions save", *drawn, table(columns, found, caption, "sortable"))


def _cells(row: AnalysisRow, costs: PromptCosts) -> list[HtmlCell]:
    kind = f" <small>{text(row.kind)}</small>" if row.kind == "control" else ""
    cells = [
        HtmlCell(markup=text(row.name) + kind, value=row.name, key="name"),
        HtmlCell(markup=points(row.score), value=row.score, key="score"),
    ]
    for field, _, _, unit in _COLUMNS:
        value: float | None = getattr(costs, field)
        shown = MISSING if value is None else _number(value / unit)
        cells.append(HtmlCell(markup=text(shown), value=value, key=f"prompt_costs.{field}"))
    return cells


def _number(value: float) -> str:
    """Three digits, or all before the point where these are more."""
    return whole(value) if value >= 100 else f"{value:.3g}"
