"""Training curves, one panel a metric, one line an arm."""

from collections.abc import Mapping

from thinwire.report.figures.data import Panel
from thinwire.report.figures.svg import Axes, Scale, drawing, labelled, log_ticks, nice_ticks, path
from thinwire.report.numbers import decimal, short

X_AXIS = "training step"
_LOG_FROM = 50


def is_log(panel: Panel) -> bool:
    """Whether the values span so much, all above zero, that only a logarithmic axis shows them."""
    values = [value for _, pairs in panel.lines for _, value in pairs]
    return min(values) > 0 and max(values) > _LOG_FROM * min(values)


def draw(panel: Panel, order: list[str], marked: Mapping[str, str], width: float) -> str:
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
        path([(x(step), y(value)) for step, value in pairs], f"run {marked.get(name, '')}", data_arm=order.index(name))
        for name, pairs in sorted(panel.lines, key=lambda item: item[0] in marked)
    ]
    name = f"curves-{panel.metric.replace('_', '-')}"
    return drawing(name, width, bottom + 46, panel.title, describe(panel), axes.draw(), *lines)


def describe(panel: Panel) -> str:
    """The panel in words: where each line starts and ends."""
    lines = (
        f"{name}: {decimal(pairs[0][1])} at step {pairs[0][0]:g} to {decimal(pairs[-1][1])} at step {pairs[-1][0]:g}"
        for name, pairs in panel.lines
    )
    return f"{panel.axis}. " + "; ".join(lines) + "."
