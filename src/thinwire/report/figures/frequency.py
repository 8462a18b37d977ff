"""How well embeddings are rebuilt, from the most used tokens to the rarest."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from thinwire.report.figures.data.codes import Bucket
from thinwire.report.figures.data.codes import buckets as pick
from thinwire.report.figures.svg.axes import Axes, Scale, labelled, legend, nice_ticks
from thinwire.report.figures.svg.elements import mark, path, rect, text_at
from thinwire.report.figures.svg.figure import HALF, Drawing, Figure
from thinwire.report.figures.svg.palette import look
from thinwire.report.figures.svg.text import text_width
from thinwire.report.formatting import decimal, percent

TITLE = "Reconstruction by token frequency"
X_AXIS = "occurrences of the token in the training prompts"
Y_AXIS = "cosine of rebuilt and true embeddings"
SHARE_AXIS = "share of all tokens read"
LINES = ("codec alone (linear)", "with the adapter, before the arms")
"""Names of a bucket's cosines."""


def figure(series: Mapping[str, Any]) -> Figure | None:
    """Cosines and shares of tokens by frequency; None where reconstruction was not measured."""
    found = pick(series)
    caption = "Common tokens weigh most in what the model reads; rare ones carry names and facts."
    return Figure("frequency", TITLE, caption, lambda width: draw(found, width), HALF) if found else None


def draw(buckets: Sequence[Bucket], width: float) -> Drawing:
    """Cosines above, the share of tokens in each bucket below, on the same buckets."""
    values = [value for b in buckets for value in b.cosines if value is not None]
    ticks = nice_ticks(min(values, default=0.0), 1.0, 4)
    keys, rows = legend(LINES, width)
    top, left, right = 50.0 + rows, 52.0, width - 8
    middle, bottom = top + 176, top + 320
    x = Scale(-0.5, len(buckets) - 0.5, left, right)
    y = Scale(ticks[0], ticks[-1], middle, top)
    labels = [(float(i), _bucket_label(b.occurrences, (right - left) / len(buckets))) for i, b in enumerate(buckets)]
    axes = Axes(x, y, "", Y_AXIS, labels, labelled(ticks, lambda value: f"{value:g}"))
    parts = [keys, axes.draw()]
    for number, name in enumerate(LINES):
        colour, shape, _ = look(number)
        cosines = [(i, b, value) for i, b in enumerate(buckets) if (value := b.cosines[number]) is not None]
        parts += [path([(x(i), y(value)) for i, _, value in cosines], f"curve c{colour}")]
        parts += [
            mark(shape, x(i), y(value), f"c{colour}", 5, f"{b.occurrences}, {name}: {decimal(value)}")
            for i, b, value in cosines
        ]
    parts += [_shares(buckets, x, middle + 70, bottom, labels)]
    return Drawing(width, bottom + 46, describe(buckets), "".join(parts))


def _bucket_label(label: str, width: float) -> str:
    """Thousands as ``k`` where the full label is too wide."""
    return label if text_width(label) < width else re.sub(r"(\d),?000\b", r"\1k", label)


def _shares(buckets: Sequence[Bucket], x: Scale, top: float, bottom: float, labels: list[tuple[float, str]]) -> str:
    shares = [b.share or 0.0 for b in buckets]
    ticks = nice_ticks(0.0, max(shares), 2)
    y = Scale(0.0, ticks[-1], bottom, top)
    size = (x(1) - x(0)) * 0.6
    bars = [rect(x(i) - size / 2, y(share), size, y(0) - y(share), "bar") for i, share in enumerate(shares)]
    values = [text_at(percent(b.share), x(i), y(shares[i]) - 5, "tick", "middle") for i, b in enumerate(buckets)]
    axes = Axes(x, y, X_AXIS, SHARE_AXIS, labels, labelled(ticks, percent))
    return axes.draw() + "".join(bars + values)


def describe(buckets: Sequence[Bucket]) -> str:
    """The figure in words."""
    lines = (
        f"{b.occurrences}: {percent(b.share)} of tokens, "
        + ", ".join(f"{name} {decimal(value)}" for name, value in zip(LINES, b.cosines, strict=True))
        for b in buckets
    )
    return "; ".join(lines) + "."
