"""Rows of the analysis: which have a result, what role they have, and what of LoRA tells them apart."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.report.analysis_record import Analysis
from thinwire.report.formatting import percent
from thinwire.report.rows import AnalysisRow
from thinwire.results.read import CEILING

ALPHA = "\u03b1"
_TOLD = frozenset({"lora.rank", "lora.alpha", "lora.layers"})
"""The settings that an arm's rank, alpha and layers say."""


def confidence(analysis: Analysis) -> str:
    """The level of all intervals, as ``95 %``."""
    return percent(analysis.confidence)


def arms(analysis: Analysis, kind: str = "arm") -> list[AnalysisRow]:
    """Rows of one kind that have a score."""
    return [row for row in analysis.rows if row.kind == kind and row.score is not None]


def roles(analysis: Analysis) -> dict[str, str]:
    """``best`` and ``baseline`` by the names of those arms; one that is both is the best."""
    found = {row.name: "baseline" for row in analysis.rows if row.is_baseline}
    return found | {row.name: "best" for row in analysis.rows if row.best}


def baseline(analysis: Analysis) -> AnalysisRow | None:
    """The baseline's row, if it was scored."""
    return next((row for row in arms(analysis) if row.is_baseline), None)


def ceiling(analysis: Analysis) -> float | None:
    """Score of the model that reads text with LoRA, if it was run: what no arm can be expected to pass."""
    return next((row.score for row in arms(analysis, "control") if row.name == CEILING), None)


def thresholds(analysis: Analysis) -> list[tuple[str, float]]:
    """Names and values of the thresholds, least first."""
    return sorted(analysis.thresholds.items(), key=lambda item: item[1])


def differ_in_lora_alone(rows: Sequence[AnalysisRow]) -> bool:
    """Whether rank, alpha and layers say all that there is to tell the rows apart by."""
    others = [{path: v for path, v in row.settings.items() if path not in _TOLD} for row in rows]
    return all(found == others[0] for found in others)


def layers_of(row: AnalysisRow) -> str:
    """``8 layers``, ``last 8 layers`` or ``all 30 layers``; empty without LoRA."""
    if not row.rank:
        return ""
    which = "all " if row.layers == "all" else "" if row.position == "first" else f"{row.position} "
    return f"{which}{row.num_layers} layers"


def layer_order(label: str) -> tuple[bool, float]:
    """Sorts what ``layers_of`` writes: fewest layers first, ``all`` last."""
    digits = "".join(letter for letter in label if letter.isdigit())
    return label.startswith("all"), float(digits or 0)
