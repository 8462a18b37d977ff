"""What each figure shows, picked from the analysis: shared by the page's SVG and the papers' plots.

Nothing is measured here: values are the analysis' own, sorted, grouped and (training curves) thinned out. A value
that is missing leaves its mark out; a figure without any mark is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thinwire.report.numbers import percent
from thinwire.report.results import CEILING, CODEC, TEXT

Row = Mapping[str, Any]

CONTROL_NAMES = {
    CEILING: "text + LoRA (ceiling)",
    TEXT: "text, untrained",
    CODEC: "codes, untrained",
    "no_context": "text without context",
}
ALPHA = "\u03b1"
MAX_STEPS = 160
"""Points of a training curve; more would weigh on the page and show no more."""

_TOLD = frozenset({"lora.rank", "lora.alpha", "lora.layers"})
"""The settings that an arm's rank, alpha and layers say."""

METRICS = (
    ("loss", "Loss", "loss (weighted sum)"),
    ("cosine", "Reconstruction", "cosine of rebuilt and true embeddings"),
    ("ce", "Cross-entropy of the answer", "cross-entropy (nats per token)"),
    ("grad_norm_adapter", "Gradient norm, adapter", "gradient norm before clipping"),
    ("grad_norm_lora", "Gradient norm, LoRA", "gradient norm before clipping"),
)


@dataclass(frozen=True)
class Compared:
    """An arm's difference to the baseline with its simultaneous (outer) and pointwise (inner) interval."""

    name: str
    f1: float
    estimate: float
    outer: tuple[float, float] | None
    inner: tuple[float, float] | None
    tier: str | None
    best: bool
    is_baseline: bool


@dataclass(frozen=True)
class Forest:
    """Arms by their difference in F1, largest first, against the thresholds and the ceiling."""

    rows: list[Compared]
    thresholds: list[tuple[str, float]]
    ceiling: float | None
    confidence: str

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
    f1: float
    role: str
    """``control``, ``ceiling``, ``baseline`` or ``best``."""


@dataclass(frozen=True)
class Cell:
    """All arms of one rank on the same layers, as (alpha, F1, name), by alpha."""

    rank: int
    layers: str
    arms: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Panel:
    """One metric over the steps of training, a line for each arm: (name, [(step, value)])."""

    metric: str
    title: str
    axis: str
    lines: list[tuple[str, list[tuple[float, float]]]]
    steps_per_point: int


_ROW_KEYS = (
    *("error", "best", "is_baseline", "reads", "rank", "alpha", "layers", "num_layers", "f1", "em", "raw_f1", "raw_em"),
    *(
        "n",
        "selection_f1",
        "cosine",
        "params",
        "table_bytes",
        "code_bits",
        "minutes",
        "f1_difference",
        "em_difference",
        "observed_tier",
    ),
    *("supported_tier", "questions_needed", "share_of_ceiling", "collapse", "extractors"),
)


def complete(analysis: Mapping[str, Any]) -> dict[str, Any]:
    """The analysis with None for what a row (of an arm that failed, say) does not mention."""
    blank: dict[str, Any] = {**dict.fromkeys(_ROW_KEYS), "settings": {}}
    return {**analysis, "rows": [{**blank, **row} for row in analysis["rows"]]}


def confidence(analysis: Mapping[str, Any]) -> str:
    """The level of all intervals, as ``95 %``."""
    return percent(analysis.get("confidence", 0.95))


def arms(analysis: Mapping[str, Any], kind: str = "arm") -> list[Row]:
    """Rows of one kind that have an F1."""
    return [row for row in analysis["rows"] if row["kind"] == kind and row["f1"] is not None]


def baseline(analysis: Mapping[str, Any]) -> Row | None:
    """The baseline's row, if it was scored."""
    return next((row for row in arms(analysis) if row["is_baseline"]), None)


def ceiling(analysis: Mapping[str, Any]) -> float | None:
    """F1 of the model that reads text with LoRA, if it was run: what no arm can be expected to pass."""
    return next((row["f1"] for row in arms(analysis, "control") if row["name"] == CEILING), None)


def thresholds(analysis: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Names and values of the plan's thresholds, least first."""
    return sorted(((name, value) for name, value in analysis["thresholds"].items()), key=lambda item: item[1])


def compared(row: Row) -> Compared | None:
    """The row's difference in F1, None where there is none; the baseline's to itself is zero."""
    difference = row["f1_difference"] or {}
    estimate = 0.0 if row["is_baseline"] else difference.get("estimate")
    if estimate is None:
        return None
    return Compared(
        name=row["name"],
        f1=row["f1"],
        estimate=estimate,
        outer=_pair(difference.get("low"), difference.get("high")),
        inner=_pair(difference.get("pointwise_low"), difference.get("pointwise_high")),
        tier=row["supported_tier"],
        best=row["best"],
        is_baseline=row["is_baseline"],
    )


def forest(analysis: Mapping[str, Any]) -> Forest | None:
    """Differences of all arms; None if no arm but the baseline has one."""
    rows = [found for row in arms(analysis) if (found := compared(row))]
    if all(row.is_baseline for row in rows):
        return None
    top, base = ceiling(analysis), baseline(analysis)
    reach = top - base["f1"] if top is not None and base is not None else None
    rows.sort(key=lambda row: (-row.estimate, row.is_baseline))
    return Forest(rows, thresholds(analysis), reach, confidence(analysis))


def standings(analysis: Mapping[str, Any]) -> list[Standing]:
    """Baseline, best arm and controls, highest F1 first."""
    found = []
    for row in arms(analysis) + arms(analysis, "control"):
        role = "best" if row["best"] else "baseline" if row["is_baseline"] else "control"
        if row["kind"] == "control":
            role = "ceiling" if row["name"] == CEILING else "control"
        elif role == "control":
            continue
        suffix = f" ({role})" if role in ("best", "baseline") and row["name"] != role else ""
        name: str = row["name"]
        label = CONTROL_NAMES.get(name, name) if row["kind"] == "control" else name + suffix
        found.append(Standing(row["name"], label, row["f1"], role))
    return sorted(found, key=lambda item: -item.f1)


def grid(analysis: Mapping[str, Any]) -> list[Cell]:
    """Arms with LoRA by rank and layers; none where they differ in anything else, or all are of one kind."""
    rows = [row for row in arms(analysis) if row["rank"]]
    cells: dict[tuple[int, str], list[tuple[float, float, str]]] = {}
    for row in rows:
        cells.setdefault((row["rank"], layers_of(row)), []).append((row["alpha"], row["f1"], row["name"]))
    if len(cells) < 2 or not differ_in_lora_alone(rows):
        return []
    order = sorted(cells, key=lambda key: (key[0], layer_order(key[1])))
    return [Cell(*key, sorted(cells[key])) for key in order]


def differ_in_lora_alone(rows: Sequence[Row]) -> bool:
    """Whether rank, alpha and layers say all that there is to tell the rows apart by."""
    others = [{path: v for path, v in row["settings"].items() if path not in _TOLD} for row in rows]
    return all(found == others[0] for found in others)


def depth(value: float, low: float, high: float) -> float:
    """How dark a cell is, from 0 for the lowest to 1 for the highest; the middle where all are equal."""
    return 0.5 if high == low else (value - low) / (high - low)


def curves(series: Mapping[str, Any]) -> list[Panel]:
    """A panel for each metric that any arm has."""
    panels = []
    for metric, title, axis in METRICS:
        found = {}
        for name, columns in series["training"].items():
            pairs = list(zip(columns.get("step", []), columns.get(metric) or [], strict=False))
            found[name] = [(float(step), float(value)) for step, value in pairs if _finite(value)]
        size = max(1, math.ceil(max((len(pairs) for pairs in found.values()), default=0) / MAX_STEPS))
        lines = [(name, thinned(pairs, size)) for name, pairs in found.items() if pairs]
        if lines:
            panels.append(Panel(metric, title, axis, lines, size))
    return panels


def thinned(pairs: Sequence[tuple[float, float]], size: int) -> list[tuple[float, float]]:
    """Means of ``size`` neighbours each (the last ones of what is left)."""
    chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    return [(sum(s for s, _ in chunk) / len(chunk), sum(v for _, v in chunk) / len(chunk)) for chunk in chunks]


def layers_of(row: Row) -> str:
    """``8 layers`` or ``all 30``; empty without LoRA."""
    if not row["rank"]:
        return ""
    number = row["num_layers"]
    if row["layers"] == "all":
        return "all layers" if number is None else f"all {number} layers"
    return f"{row['layers'] if number is None else number} layers"


def layer_order(label: str) -> tuple[bool, float]:
    """Sorts what ``layers_of`` writes: fewest layers first, ``all`` last."""
    digits = "".join(letter for letter in label if letter.isdigit())
    return label.startswith("all"), float(digits or 0)


def _pair(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
