"""Training curves, a panel for each metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_STEPS = 160
"""Points of a training curve; more would weigh on the page and show no more."""

METRICS = (
    ("loss", "Loss", "loss (weighted sum)"),
    ("cosine", "Reconstruction", "cosine of rebuilt and true embeddings"),
    ("ce", "Cross-entropy of the answer", "cross-entropy (nats per token)"),
    ("grad_norm_adapter", "Gradient norm, adapter", "gradient norm before clipping"),
    ("grad_norm_lora", "Gradient norm, LoRA", "gradient norm before clipping"),
)


@dataclass(frozen=True)
class CurvePanel:
    """One metric over the steps of training, a line for each arm: (name, [(step, value)])."""

    metric: str
    title: str
    axis: str
    lines: list[tuple[str, list[tuple[float, float]]]]
    steps_per_point: int


def panels(series: Mapping[str, Any]) -> list[CurvePanel]:
    """A panel for each metric that any arm has."""
    found_panels = []
    for metric, title, axis in METRICS:
        found = {}
        for name, columns in series["training"].items():
            pairs = list(zip(columns.get("step", []), columns.get(metric) or [], strict=False))
            found[name] = [(float(step), float(value)) for step, value in pairs if _finite(value)]
        size = max(1, math.ceil(max((len(pairs) for pairs in found.values()), default=0) / MAX_STEPS))
        lines = [(name, thinned(pairs, size)) for name, pairs in found.items() if pairs]
        if lines:
            found_panels.append(CurvePanel(metric, title, axis, lines, size))
    return found_panels


def thinned(pairs: Sequence[tuple[float, float]], size: int) -> list[tuple[float, float]]:
    """Means of ``size`` neighbours each (the last ones of what is left)."""
    chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    return [(sum(s for s, _ in chunk) / len(chunk), sum(v for _, v in chunk) / len(chunk)) for chunk in chunks]


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
