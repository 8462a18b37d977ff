"""How the arms trained, and how well embeddings are rebuilt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thinwire.report.figures import curves, data, frequency
from thinwire.report.numbers import decimal, percent
from thinwire.report.page.markup import Cell, Column, figure, paragraph, section, table, text
from thinwire.report.page.verdict import HALF


def training(analysis: Mapping[str, Any], series: Mapping[str, Any]) -> str:
    """A panel a metric; buttons choose which arms stand out."""
    panels = data.curves(series)
    if not panels:
        return section("training", "Training", paragraph("No training steps were recorded.", "empty"))
    order = list(series["training"])
    marked = {row["name"]: css for row in analysis["rows"] if (css := _css(row))}
    size = max(panel.steps_per_point for panel in panels)
    thinned = f" Each point is the mean of {size} steps." if size > 1 else ""
    intro = f"Everything that trained is drawn; what is pressed stands out.{thinned}"
    buttons = "".join(
        f'<button type="button" data-arm="{number}" data-css="{marked.get(name, "")}" '
        f'aria-pressed="{str(name in marked).lower()}"><i class="{marked.get(name, "")}"></i>{text(name)}</button>'
        for number, name in enumerate(order)
    )
    drawn = "".join(figure(panel.title, "", curves.draw(panel, order, marked, HALF)) for panel in panels)
    chips = f'<div class="chips" role="group" aria-label="Arms that stand out">{buttons}</div>'
    return section("training", "Training", paragraph(intro), chips, f'<div class="halves">{drawn}</div>')


def _css(row: Mapping[str, Any]) -> str:
    return "on chosen" if row["best"] else "on base" if row["is_baseline"] else ""


def reconstruction(series: Mapping[str, Any]) -> str:
    """Cosine by token frequency."""
    buckets = series["frequency"]
    if not buckets:
        return section("frequency", "Reconstruction", paragraph("Not measured in this run.", "empty"))
    caption = "Common tokens weigh most in what the model reads; rare ones carry names and facts."
    drawn = figure(frequency.TITLE, caption, frequency.draw(buckets, HALF))
    return section("frequency", "Reconstruction", f'<div class="halves">{drawn}{_values(buckets)}</div>')


def _values(buckets: list[Mapping[str, Any]]) -> str:
    columns = [
        Column(name="tokens", numeric=False),
        Column(name="share of text"),
        Column(name="codec alone"),
        Column(name="with adapter"),
    ]
    rows = [
        (
            "",
            [
                Cell(markup=text(bucket["bucket"])),
                Cell(markup=percent(bucket["share_of_tokens"]), value=bucket["share_of_tokens"]),
                Cell(markup=decimal(bucket["linear_cosine"]), value=bucket["linear_cosine"]),
                Cell(markup=decimal(bucket["start_cosine"]), value=bucket["start_cosine"]),
            ],
        )
        for bucket in buckets
    ]
    return table(columns, rows, "Cosine of rebuilt and true embeddings by token frequency")
