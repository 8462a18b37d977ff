"""How well embeddings are rebuilt, from the most used tokens to the rarest."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from thinwire.report.figures.svg import Axes, Scale, drawing, labelled, mark, nice_ticks, path, rect, text_width, words
from thinwire.report.numbers import decimal, percent

TITLE = "Reconstruction by token frequency"
X_AXIS = "occurrences of the token in the training prompts"
Y_AXIS = "cosine of rebuilt and true embeddings"
SHARE_AXIS = "share of all tokens read"
LINES = (
    ("linear_cosine", "codec alone (linear)", "square"),
    ("start_cosine", "with the adapter, before the arms", "circle"),
)

Bucket = Mapping[str, Any]


def draw(buckets: Sequence[Bucket], width: float) -> str:
    """Cosines above, the share of tokens in each bucket below, on the same buckets."""
    values = [b[key] for b in buckets for key, _, _ in LINES if b[key] is not None]
    ticks = nice_ticks(min(values, default=0.0), 1.0, 4)
    top, middle, bottom, left, right = 50.0, 226.0, 370.0, 46.0, width - 8
    x = Scale(-0.5, len(buckets) - 0.5, left, right)
    y = Scale(ticks[0], ticks[-1], middle, top)
    labels = [(float(i), _bucket_label(str(b["bucket"]), (right - left) / len(buckets))) for i, b in enumerate(buckets)]
    axes = Axes(x, y, "", Y_AXIS, labels, labelled(ticks, lambda value: f"{value:g}"))
    parts = [axes.draw()]
    for number, (key, name, shape) in enumerate(LINES):
        parts += [mark(shape, 6 + number * width * 0.44, 7.5, f"key c{number}", 5)]
        parts += [words(name, 18 + number * width * 0.44, 12, "tick")]
        spots = [(x(i), y(b[key]), b) for i, b in enumerate(buckets) if b[key] is not None]
        parts += [path([spot[:2] for spot in spots], f"curve c{number}")]
        parts += [
            mark(shape, left_, top_, f"c{number}", 5, f"{b['bucket']}, {name}: {decimal(b[key])}")
            for left_, top_, b in spots
        ]
    parts += [_shares(buckets, x, middle + 70, bottom, labels)]
    return drawing(f"frequency-{width:g}", width, bottom + 46, TITLE, describe(buckets), *parts)


def _bucket_label(label: str, width: float) -> str:
    """Thousands as ``k`` where the full label is too wide."""
    return label if text_width(label) < width else re.sub(r"(\d),?000\b", r"\1k", label)


def _shares(buckets: Sequence[Bucket], x: Scale, top: float, bottom: float, labels: list[tuple[float, str]]) -> str:
    shares = [b["share_of_tokens"] or 0.0 for b in buckets]
    ticks = nice_ticks(0.0, max(shares), 2)
    y = Scale(0.0, ticks[-1], bottom, top)
    size = (x(1) - x(0)) * 0.6
    bars = [rect(x(i) - size / 2, y(share), size, y(0) - y(share), "bar") for i, share in enumerate(shares)]
    values = [
        words(percent(b["share_of_tokens"]), x(i), y(shares[i]) - 5, "tick", "middle") for i, b in enumerate(buckets)
    ]
    axes = Axes(x, y, X_AXIS, SHARE_AXIS, labels, labelled(ticks, percent))
    return axes.draw() + "".join(bars + values)


def describe(buckets: Sequence[Bucket]) -> str:
    """The figure in words."""
    lines = (
        f"{b['bucket']}: {percent(b['share_of_tokens'])} of tokens, "
        + ", ".join(f"{name} {decimal(b[key])}" for key, name, _ in LINES)
        for b in buckets
    )
    return "; ".join(lines) + "."
