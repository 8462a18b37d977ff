"""How the arms trained, and how well embeddings are rebuilt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thinwire.report.analysis_record import Analysis
from thinwire.report.caveats import first_seed
from thinwire.report.figures import curves, frequency
from thinwire.report.figures.data.codes import Bucket, buckets
from thinwire.report.figures.data.curves import panels
from thinwire.report.formatting import decimal, percent
from thinwire.report.html.markup import HtmlCell, HtmlColumn, figure, paragraph, section, table, text
from thinwire.stats.words import count


def training(analysis: Analysis, series: Mapping[str, Any]) -> str:
    """A panel a metric; buttons choose which arms stand out."""
    figures = curves.figures(analysis, series)
    if not figures:
        return section("training", "Training", paragraph("No training steps were recorded.", "empty"))
    order = list(series["training"])
    marked = curves.marked_arms(analysis)
    size = max(panel.steps_per_point for panel in panels(series))
    thinned = f" Each point is the mean of {size} steps." if size > 1 else ""
    seed = first_seed(analysis)
    whose = f" The curves are those{seed}." if seed else ""
    intro = f"Everything that trained is drawn; what is pressed stands out.{thinned}{whose}"
    buttons = "".join(
        f'<button type="button" data-arm="{number}" data-css="{marked.get(name, "")}" '
        f'aria-pressed="{str(name in marked).lower()}"><i class="{marked.get(name, "")}"></i>{text(name)}</button>'
        for number, name in enumerate(order)
    )
    drawn = "".join(figure(one, caption="") for one in figures)
    chips = f'<div class="chips" role="group" aria-label="Arms that stand out">{buttons}</div>'
    return section("training", "Training", paragraph(intro), chips, f'<div class="halves">{drawn}</div>')


def reconstruction(analysis: Analysis, series: Mapping[str, Any]) -> str:
    """Cosine by token frequency, and how well texts are written out of blocks."""
    found, written = frequency.figure(series), _written(analysis)
    if found is None:
        return section("frequency", "Reconstruction", written or paragraph("Not measured in this run.", "empty"))
    seed = first_seed(analysis)
    whose = paragraph(f"The adapter is that{seed}, as it is before the arms train.") if seed else ""
    halves = f'<div class="halves">{figure(found)}{_values(buckets(series))}</div>'
    return section("frequency", "Reconstruction", whose, halves, written)


def _written(analysis: Analysis) -> str:
    """A line for each arm and control that learned to write texts; nothing where none did."""
    columns = [HtmlColumn(name="configuration", numeric=False), HtmlColumn(name="written rightly")]
    rows = [
        ("", [HtmlCell(markup=text(row.name)), HtmlCell(markup=f"{100 * row.written:.1f} %", value=row.written)])
        for row in analysis.rows
        if row.written is not None
    ]
    caption = (
        "Share of the tokens of held-out texts that are written rightly out of their blocks, each after the right ones "
        "before it, before the arm learns from questions"
    )
    learned = _learned(analysis)
    return (paragraph(learned) if learned else "") + table(columns, rows, caption) if rows else ""


def _learned(analysis: Analysis) -> str:
    """Say how many passages were learned from and what was measured: of all at once, or by name where they differ."""
    names: dict[str, list[str]] = {}
    for row in analysis.rows:
        if (found := row.learned_texts) is not None:
            learned = "" if found.passages is None else f"learned from {count(found.passages, 'passage')} and "
            tokens, texts = count(found.held_out_tokens, "held-out token"), count(found.held_out_texts, "text")
            names.setdefault(f"{learned}was measured on {tokens} of {texts}", []).append(row.name)
    if len(names) == 1 and len(*names.values()) > 1:
        return f"Each {next(iter(names))}."
    return " ".join(f"{'Each of ' if len(who) > 1 else ''}{', '.join(who)} {said}." for said, who in names.items())


def _values(found: list[Bucket]) -> str:
    names = ("share of text", "codec alone", "with adapter")
    columns = [HtmlColumn(name="tokens", numeric=False), *(HtmlColumn(name=name) for name in names)]
    rows = []
    for bucket in found:
        cells = [HtmlCell(markup=text(bucket.occurrences)), HtmlCell(markup=percent(bucket.share), value=bucket.share)]
        rows.append(("", [*cells, *(HtmlCell(markup=decimal(cosine), value=cosine) for cosine in bucket.cosines)]))
    return table(columns, rows, "Cosine of rebuilt and true embeddings by token frequency")
