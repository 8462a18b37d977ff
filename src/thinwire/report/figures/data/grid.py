"""Arms with LoRA by rank and layers."""

from __future__ import annotations

from dataclasses import dataclass

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.rows import arms, differ_in_lora_alone, layer_order, layers_of


@dataclass(frozen=True)
class GridCell:
    """All arms of one rank on the same layers, as (alpha, score, name), by alpha."""

    rank: int
    layers: str
    arms: list[tuple[float, float, str]]


def grid(analysis: Analysis) -> list[GridCell]:
    """Arms with LoRA by rank and layers; none where they differ in anything else, or all are of one kind."""
    rows = [row for row in arms(analysis) if row.rank]
    cells: dict[tuple[int, str], list[tuple[float, float, str]]] = {}
    for row in rows:
        if row.rank and row.alpha:
            cells.setdefault((row.rank, layers_of(row)), []).append((row.alpha, row.done_score, row.name))
    if len(cells) < 2 or not differ_in_lora_alone(rows):
        return []
    order = sorted(cells, key=lambda key: (key[0], layer_order(key[1])))
    return [GridCell(*key, sorted(cells[key])) for key in order]


def depth(value: float, low: float, high: float) -> float:
    """How dark a cell is, from 0 for the lowest to 1 for the highest; the middle where all are equal."""
    return 0.5 if high == low else (value - low) / (high - low)
