"""Arms by their difference in the score to the baseline, and where baseline, best arm and controls stand."""

from __future__ import annotations

from dataclasses import dataclass

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.rows import arms, baseline, ceiling, confidence, thresholds
from thinwire.report.rows import AnalysisRow
from thinwire.results.read import CEILING, CODEC, TEXT

CONTROL_NAMES = {
    CEILING: "text + LoRA (ceiling)",
    TEXT: "text, untrained",
    CODEC: "codes, untrained",
    "no_context": "text without context",
}


@dataclass(frozen=True)
class Compared:
    """An arm's difference to the baseline with its simultaneous (outer) and pointwise (inner) interval."""

    name: str
    score: float
    estimate: float
    outer: tuple[float, float] | None
    inner: tuple[float, float] | None
    tier: str | None
    best: bool
    is_baseline: bool


@dataclass(frozen=True)
class Forest:
    """Arms by their difference in the score, largest first, against the thresholds and the ceiling."""

    rows: list[Compared]
    thresholds: list[tuple[str, float]]
    ceiling: float | None
    confidence: str
    metric: str
    """Name of the score."""

    def span(self) -> tuple[float, float]:
        """The least and the greatest value that must be seen."""
        values = [0.0, *(value for _, value in self.thresholds), *([] if self.ceiling is None else [self.ceiling])]
        for row in self.rows:
            values += [row.estimate, *(row.outer or ()), *(row.inner or ())]
        return min(values), max(values)


@dataclass(frozen=True)
class Standing:
    """One of the few results that the verdict is about."""

    name: str
    label: str
    score: float
    role: str
    """``control``, ``ceiling``, ``baseline`` or ``best``."""


def compared(row: AnalysisRow) -> Compared | None:
    """The row's difference in the score, None where there is none; the baseline's to itself is zero."""
    difference = row.score_difference
    if difference is None and not row.is_baseline:
        return None
    return Compared(
        name=row.name,
        score=row.done_score,
        estimate=difference.estimate if difference else 0.0,
        outer=_pair(difference.low, difference.high) if difference else None,
        inner=_pair(difference.pointwise_low, difference.pointwise_high) if difference else None,
        tier=row.supported_tier,
        best=row.best,
        is_baseline=row.is_baseline,
    )


def forest(analysis: Analysis) -> Forest | None:
    """Differences of all arms; None if no arm but the baseline has one."""
    rows = [found for row in arms(analysis) if (found := compared(row))]
    if all(row.is_baseline for row in rows):
        return None
    top, base = ceiling(analysis), baseline(analysis)
    reach = top - base.done_score if top is not None and base is not None else None
    rows.sort(key=lambda row: (-row.estimate, row.is_baseline))
    return Forest(rows, thresholds(analysis), reach, confidence(analysis), analysis.task.label)


def standings(analysis: Analysis) -> list[Standing]:
    """Baseline, best arm and controls, highest score first."""
    found = []
    for row in arms(analysis) + arms(analysis, "control"):
        role = "best" if row.best else "baseline" if row.is_baseline else "control"
        if row.kind == "control":
            role = "ceiling" if row.name == CEILING else "control"
        elif role == "control":
            continue
        suffix = f" ({role})" if role in ("best", "baseline") and row.name != role else ""
        name: str = row.name
        label = CONTROL_NAMES.get(name, name) if row.kind == "control" else name + suffix
        found.append(Standing(row.name, label, row.done_score, role))
    return sorted(found, key=lambda item: -item.score)


def _pair(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)
