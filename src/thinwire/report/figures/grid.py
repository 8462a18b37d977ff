"""The score over rank and layers, each arm a strip in its cell: nothing is averaged."""

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.grid import GridCell, depth
from thinwire.report.figures.data.grid import grid as pick
from thinwire.report.figures.data.rows import ALPHA, layer_order
from thinwire.report.figures.svg.elements import rect, tag, text_at, tip
from thinwire.report.figures.svg.figure import HALF, Drawing, Figure
from thinwire.report.figures.svg.text import text_width
from thinwire.report.formatting import points
from thinwire.report.score_words import begins

TITLE = "{} by rank and layers"
_STRIP = 24
_TOP = 58


def figure(analysis: Analysis) -> Figure | None:
    """Arms by rank and layers; None where they differ in anything else."""
    cells, metric = pick(analysis), analysis.task.label
    title, caption = TITLE.format(begins(metric)), "One strip an arm; darker is higher."
    return Figure("rank_layers", title, caption, lambda width: draw(cells, metric, width), HALF) if cells else None


def draw(cells: list[GridCell], metric: str, width: float) -> Drawing:
    """Ranks downwards, layers to the right; the darker a strip, the higher its score, which is named ``metric``."""
    ranks = sorted({cell.rank for cell in cells})
    columns = sorted({cell.layers for cell in cells}, key=layer_order)
    scores = [score for cell in cells for _, score, _ in cell.arms]
    low, high = min(scores), max(scores)
    left, gap = 40.0, 4.0
    size = (width - left - gap * (len(columns) - 1)) / len(columns)
    parts = [text_at("rank", 0, _TOP - 12, "name"), text_at("LoRA on", (left + width) / 2, 14, "name", "middle")]
    label_fits = all(text_width(label) < size for label in columns)
    for number, label in enumerate(columns):
        text = label if label_fits else label.replace(" layers", "")
        parts.append(text_at(text, left + number * (size + gap) + size / 2, _TOP - 12, "tick", "middle"))
    y = float(_TOP)
    for rank in ranks:
        here = {cell.layers: cell for cell in cells if cell.rank == rank}
        height = _STRIP * max(len(cell.arms) for cell in here.values())
        parts.append(text_at(str(rank), left - 12, y + height / 2 + 4.5, "value", "end"))
        for number, label in enumerate(columns):
            x = left + number * (size + gap)
            parts.append(_cell(here.get(label), metric, (x, y, size, height), (low, high)))
        y += height + gap
    return Drawing(width, y + 4, describe(cells, metric), "".join(parts))


def _cell(
    cell: GridCell | None, metric: str, place: tuple[float, float, float, float], span: tuple[float, float]
) -> str:
    x, y, size, height = place
    if cell is None:
        return rect(x, y, size, height, "empty")
    parts = []
    strip = height / len(cell.arms)
    for number, (alpha, score, name) in enumerate(cell.arms):
        shade = 0.08 + 0.42 * depth(score, *span)
        top = y + number * strip
        pointed = tip(f"{name}: {metric} {points(score)}")
        parts.append(tag("g", pointed, rect(x, top, size, strip - 1, "heat", fill_opacity=f"{shade:.2f}")))
        middle = top + strip / 2 + 4.5
        parts.append(text_at(f"{ALPHA}{alpha:g}", x + 8, middle, "tick over"))
        parts.append(text_at(points(score), x + size - 8, middle, "value over", "end"))
    return "".join(parts)


def describe(cells: list[GridCell], metric: str) -> str:
    """The figure in words."""
    return (
        "; ".join(
            f"rank {cell.rank}, {cell.layers}: "
            + ", ".join(f"alpha {a:g} {metric} {points(score)}" for a, score, _ in cell.arms)
            for cell in cells
        )
        + "."
    )
