"""Training curves, one panel a metric, one line an arm."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.curves import CurvePanel, panels
from thinwire.report.figures.data.rows import roles
from thinwire.report.figures.svg.axes import Axes, Scale, labelled, log_ticks, nice_ticks
from thinwire.report.figures.svg.elements import path, tag
from thinwire.report.figures.svg.figure import HALF, Drawing, Figure
from thinwire.report.figures.svg.labels import Spot
from thinwire.report.formatting import decimal, short

X_AXIS = "training step"
_LOG_FROM = 50
_LINES = {"on chosen": "Blue", "on base": "Dashed"}


def is_log(panel: CurvePanel) -> bool:
    """Whether the values span so much, all above zero, that only a logarithmic axis shows them."""
    values = [value for _, pairs in panel.lines for _, value in pairs]
    return min(values) > 0 and max(values) > _LOG_FROM * min(values)


def figures(analysis: Analysis, series: Mapping[str, Any]) -> list[Figure]:
    """A figure for each metric that any arm has."""
    order, marked = list(series["training"]), marked_arms(analysis)
    named = [f"{_LINES[css]}: {name}" for name, css in marked.items() if name in order]
    caption = " ".join(f"{line}." for line in [*named, "Grey: the other arms"])
    return [
        Figure(f"training_{panel.metric}", panel.title, caption, partial(draw, panel, order, marked), HALF)
        for panel in (_named(panel, analysis) for panel in panels(series))
    ]


def _named(panel: CurvePanel, analysis: Analysis) -> CurvePanel:
    """The panel, with what the adapter's place is taken by in its title: in arms that read blocks, their encoder."""
    if panel.metric != "grad_norm_adapter":
        return panel
    inputs = {row.name: row.input for row in analysis.rows}
    of_blocks = [inputs.get(name) == "blocks" for name, _ in panel.lines]
    parts = ["adapter"] * (not all(of_blocks)) + ["encoder of blocks"] * any(of_blocks)
    return replace(panel, title=f"Gradient norm, {' or '.join(parts)}")


def marked_arms(analysis: Analysis) -> dict[str, str]:
    """Classes of the arms whose lines stand out at first, by their names."""
    return {name: "on chosen" if role == "best" else "on base" for name, role in roles(analysis).items()}


def draw(panel: CurvePanel, order: list[str], marked: Mapping[str, str], width: float) -> Drawing:
    """A panel. Lines carry the arm's place in ``order``, by which the page's buttons find them.

    ``marked`` gives the classes of the arms that stand out at first; they are drawn last, above the others.
    """
    steps = [step for _, pairs in panel.lines for step, _ in pairs]
    values = [value for _, pairs in panel.lines for _, value in pairs]
    log = is_log(panel)
    y_ticks = log_ticks(min(values), max(values)) if log else nice_ticks(min(values), max(values), 4)
    x_ticks = [value for value in nice_ticks(0.0, max(steps), 4) if value <= max(steps)]
    top, bottom = 30.0, 206.0
    x, y = Scale(0.0, max(steps), 52, width - 10), Scale(y_ticks[0], y_ticks[-1], bottom, top, log)
    axis = panel.axis + (", logarithmic" if log else "")
    y_labels = labelled(y_ticks, lambda value: f"{value:g}")
    axes = Axes(x, y, X_AXIS, axis, labelled(x_ticks, short), y_labels)
    lines = [
        _curve([(x(step), y(value)) for step, value in pairs], f"run {marked.get(name, '')}", order.index(name))
        for name, pairs in sorted(panel.lines, key=lambda item: item[0] in marked)
    ]
    return Drawing(width, bottom + 46, describe(panel), "".join([axes.draw(), *lines]))


def _curve(spots: list[Spot], css: str, number: int) -> str:
    """The line of an arm; of a single step, which makes no line, a dot of 3 pixels' radius in the line's colour."""
    if len(spots) > 1:
        return path(spots, css, data_arm=number)
    ((x, y),) = spots
    dot = tag("circle", cx=float(x), cy=float(y), r=1.5, stroke_width=3, stroke_dasharray="none")
    return tag("g", dot, class_=css, data_arm=number)  # the style is the group's, so that width and dash are the dot's


def describe(panel: CurvePanel) -> str:
    """The panel in words: where each line starts and ends."""
    lines = (
        f"{name}: {decimal(pairs[0][1])} at step {pairs[0][0]:g} to {decimal(pairs[-1][1])} at step {pairs[-1][0]:g}"
        for name, pairs in panel.lines
    )
    return f"{panel.axis}. " + "; ".join(lines) + "."
