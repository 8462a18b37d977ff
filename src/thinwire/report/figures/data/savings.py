"""Score of each arm and control against the positions of a prompt, and against questions answered in a second."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.rows import arms, ceiling
from thinwire.report.figures.data.sizes import Point, Tradeoff
from thinwire.report.rows import AnalysisRow, PromptCosts
from thinwire.report.score_words import begins, rate_caveat

_SIZE = "blocks.size"
_AXES: tuple[tuple[str, str, str, str, Callable[[PromptCosts], float | None]], ...] = (
    ("positions", "positions of a prompt", "positions of a prompt", "positions", lambda costs: costs.positions),
    ("speed", "time", "questions a second", "questions/s", lambda costs: costs.questions_per_second),
)


def curves_of_savings(analysis: Analysis) -> list[Tradeoff]:
    """The two curves, where the arms differ; controls are in them, as text is what blocks are compared with."""
    rows = [row for row in (*arms(analysis), *arms(analysis, "control")) if row.prompt_costs is not None]
    label, found = analysis.task.label, []
    for key, against, axis, unit, size_of in _AXES:
        sized = [(size, row) for row in rows if row.prompt_costs and (size := size_of(row.prompt_costs)) is not None]
        sized.sort(key=lambda pair: pair[0])
        if len({size for size, _ in sized}) < 2:
            continue
        groups = list(dict.fromkeys(_group(row) for row in rows))
        lines = _lines([row for _, row in sized], groups)
        points = [
            Point(
                row.name,
                _label(row),
                size,
                row.done_score,
                _group(row),
                row.best,
                row.is_baseline,
            )
            for size, row in sized
        ]
        title = f"{begins(label)} against {against}"
        note = rate_caveat(analysis.task) if key == "speed" else ""
        found.append(
            Tradeoff(key, title, axis, unit, points, groups, lines, ceiling(analysis), label, None, note, nests=True)
        )
    return found


def _group(row: AnalysisRow) -> str:
    """What encodes the context, and LoRA."""
    encoder = row.prompt_costs.encoder if row.prompt_costs else None
    read = f"blocks ({encoder.replace('_', ' ')})" if encoder else "text" if row.input == "text" else "codes"
    return f"{read}, LoRA r{row.rank}" if row.rank else f"{read}, no LoRA"


def _label(row: AnalysisRow) -> str:
    """The arm's name, with the size of its blocks where the name does not say it, as ``k2`` does."""
    size = _block_size(row)
    is_said = size is None or re.search(rf"(?<![a-z])k{size}(?!\d)", row.name, re.IGNORECASE)
    return row.name if is_said else f"{row.name}, k={size}"


def _block_size(row: AnalysisRow) -> int | None:
    return row.prompt_costs.block_size if row.prompt_costs else None


def _lines(rows: Sequence[AnalysisRow], groups: Sequence[str]) -> list[list[str]]:
    """The names on each group's line, smallest first; none where arms of a group differ in more than their blocks'
    size, and so would lie on no line."""
    members = [[row for row in rows if _group(row) == group] for group in groups]
    for found in members:
        blocks = [row for row in found if row.prompt_costs and row.prompt_costs.encoder]
        others = [{path: value for path, value in row.settings.items() if path != _SIZE} for row in blocks]
        if any(one != others[0] for one in others) or len({_block_size(row) for row in blocks}) < len(blocks):
            return []
    return [[row.name for row in found] if found[0].input == "blocks" else [] for found in members]
