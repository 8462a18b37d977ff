"""The page's figures for papers: the same data through matplotlib, as SVG and PNG files.

Matplotlib is optional (``pip install 'thinwire[plots]'``) and is imported when a plot is drawn. Its figures are made
without ``pyplot``, which would keep a global list of them and choose a window system.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinwire.errors import UsageError
from thinwire.report.compression import TOKEN_ID
from thinwire.report.figures import (
    changes,
    curves,
    data,
    forest,
    frequency,
    grid,
    ladder,
    sensitivity,
    settings,
    sizes,
    standing,
    tradeoff,
    wire,
)
from thinwire.report.figures.palette import LIGHT, look
from thinwire.report.figures.svg import TEXT_SIZE
from thinwire.report.numbers import points, short, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = {"circle": "o", "square": "s", "triangle": "^", "diamond": "D", "cross": "X", "ring": "$\\circ$"}
_INK, _SOFT, _FAINT = "#1b1f24", "#57606a", "#c3c9d0"
_BEST = LIGHT[0]
_COLOURS = {"c0": LIGHT[0], "c1": LIGHT[1], "best": _BEST, "ink": _INK, "soft": _SOFT}
"""Of the page's classes."""
_AT_RIGHT: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"),
    "textcoords": "offset points",
    "ha": "right",
}
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "thinwire",  # the same data, the same file
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


def write_plots(
    analysis: Mapping[str, Any], series: Mapping[str, Any], folder: Path, formats: Sequence[str] = ("svg", "png")
) -> list[Path]:
    """Write every figure that has data to ``folder``, in each format, and return the files.

    Raises:
        UsageError: matplotlib is not installed, or cannot write one of the formats.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("plots need matplotlib, which is not installed: pip install 'thinwire[plots]'") from None
    known = Figure().canvas.get_supported_filetypes()
    if unknown := [suffix for suffix in formats if suffix not in known]:
        raise UsageError(f"--format {unknown[0]} is none that matplotlib writes: {', '.join(sorted(known))}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, size, draw in _plots(data.complete(analysis), series):
        with rc_context(_STYLE):  # type: ignore[arg-type]  # its keys are a list of literals
            figure = Figure(figsize=size)
            draw(figure)
            for suffix in formats:
                path = folder / f"{name}.{suffix}"
                figure.savefig(path, dpi=200, metadata={"Date": None} if suffix == "svg" else None)
                written.append(path)
    return written


_Plot = tuple[str, tuple[float, float], Callable[["Figure"], None]]


def _plots(analysis: Mapping[str, Any], series: Mapping[str, Any]) -> list[_Plot]:
    """Name, size in inches and drawing of each figure that has data."""
    found: list[_Plot] = []
    if (compared := data.forest(analysis)) is not None:
        found.append(("differences", (6.5, 1.2 + 0.26 * len(compared.rows)), lambda f: _forest(f, compared)))
    if standings := data.standings(analysis):
        found.append(("standings", (6.5, 0.8 + 0.24 * len(standings)), lambda f: _standings(f, standings)))
    if (rungs := changes.ladder(analysis)) is not None:
        found.append(("ladder", (6.5, 1.4 + 0.26 * len(rungs.rungs)), partial(_ladder, found=rungs)))
    for size in sizes.tradeoffs(analysis):
        found.append((size.key, (6.5, 3.6), partial(_tradeoff, found=size)))
    if cells := data.grid(analysis):
        found.append(("rank_layers", (4.5, 3.2), lambda f: _grid(f, cells)))
    for lines in settings.curves(analysis):
        shape = (7.5, 3.4) if lines.has_cosine else (4.5, 3.2)
        found.append((f"by_{lines.path.replace('.', '_')}", shape, partial(_sensitivity, found=lines)))
    if panels := data.curves(series):
        rows = -(-len(panels) // 2)
        found.append(("training", (7.0, 2.1 * rows + 0.5), lambda f: _curves(f, panels, analysis, rows)))
    if series["frequency"]:
        found.append(("frequency", (4.5, 3.8), lambda f: _frequency(f, series["frequency"])))
    if forms := [form for form in (analysis["bytes"] or {"wire_bits": []})["wire_bits"] if form["bits"]]:
        found.append(("wire", (4.5, 0.8 + 0.28 * len(forms)), lambda f: _wire(f, forms)))
    return found


def _forest(figure: Figure, compared: data.Forest) -> None:
    axes = figure.add_subplot()
    for number, row in enumerate(compared.rows):
        colour = _BEST if row.best else _INK
        for ends, width, opacity in ((row.outer, 1.0, 1.0), (row.inner, 3.5, 0.45)):
            if ends:
                axes.plot([100 * x for x in ends], [number] * 2, color=colour, linewidth=width, alpha=opacity)
        marker = "s" if row.is_baseline else "D" if row.best else "o"
        axes.plot(100 * row.estimate, number, marker, color=colour, markersize=4.5)
    _levels(axes, [value for _, value in compared.thresholds], compared.ceiling)
    axes.axvline(0, color=_INK, linewidth=0.8)
    axes.set_yticks(range(len(compared.rows)), [row.name for row in compared.rows])
    axes.invert_yaxis()
    axes.set_title(forest.TITLE, pad=28)
    axes.set(xlabel=f"{forest.AXIS}, simultaneous {compared.confidence} intervals")


def _levels(axes: Axes, thresholds: Sequence[float], ceiling: float | None) -> None:
    for value in thresholds:
        axes.axvline(100 * value, color=_SOFT, linewidth=0.8, linestyle=":")
        _above(axes, value, signed(value))
    if ceiling is not None:
        axes.axvline(100 * ceiling, color=LIGHT[1], linewidth=1, linestyle="--")
        _above(axes, ceiling, f"ceiling {signed(ceiling)}", 14)  # higher up: it may lie between two thresholds


def _above(axes: Axes, value: float, label: str, height: float = 4) -> None:
    place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "center"}
    axes.annotate(label, (100 * value, 1), (0, height), fontsize=8, color=_SOFT, **place)


def _standings(figure: Figure, items: Sequence[data.Standing]) -> None:
    axes = figure.add_subplot()
    colours = {"best": _BEST, "baseline": _INK}
    for number, item in enumerate(items):
        colour = colours.get(item.role, _SOFT)
        axes.plot([0, 100 * item.f1], [number, number], color=colour, linewidth=1, alpha=0.5)
        axes.plot(100 * item.f1, number, _MARKERS[standing.SHAPES[item.role]], color=colour)
        axes.annotate(points(item.f1), (100 * item.f1, number), (7, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(items)), [item.label for item in items])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set(title=standing.TITLE, xlabel=standing.AXIS)


def _look(number: int) -> dict[str, Any]:
    """Colour, marker and dashes of a series, those of the page."""
    colour, shape, dash = look(number)
    steps = tuple(float(step) / 2 for step in dash.split())
    return {"color": LIGHT[colour], "marker": _MARKERS[shape], "linestyle": (0, steps) if steps else "-"}


def _ladder(figure: Figure, found: changes.Ladder) -> None:
    axes = figure.add_subplot()
    places = [number + (number >= len(found.single)) for number in range(len(found.rungs))]  # a free row between
    for place, rung in zip(places, found.rungs, strict=True):
        colour = _COLOURS[ladder.css(rung)]
        axes.barh(place, 100 * rung.arm.estimate, 0.4, left=100 * found.f1, color=colour, alpha=0.3, linewidth=0)
        if rung.arm.outer:
            axes.plot([100 * (found.f1 + end) for end in rung.arm.outer], [place] * 2, color=colour, linewidth=1)
        axes.plot(100 * rung.arm.f1, place, "D" if rung.arm.best else "o", color=colour, markersize=4.5)
    axes.axvline(100 * found.f1, color=_INK, linewidth=0.8)
    _above(axes, found.f1, f"{found.baseline} {points(found.f1)}")
    if found.combined:
        axes.axhline(len(found.single), color=_FAINT, linewidth=0.8)
        axes.annotate(ladder.COMBINED, (1, len(found.single)), (0, -9), fontsize=8, color=_SOFT, **_AT_RIGHT)
    axes.set_yticks(places, [rung.label for rung in found.rungs])
    axes.invert_yaxis()
    axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
    axes.set_title(ladder.TITLE, pad=18)
    axes.set(xlabel=f"{ladder.AXIS}, simultaneous {found.confidence} intervals of the difference")


def _tradeoff(figure: Figure, found: sizes.Tradeoff) -> None:
    axes = figure.add_subplot()
    for number, group in enumerate(found.groups):
        names = found.lines[number] if found.are_lines else [p.name for p in found.points if p.group == group]
        members = [point for point in found.points if point.name in names]
        style = {**_look(number), "markevery": [point.group == group for point in members]}
        style |= {} if found.are_lines else {"linestyle": ""}
        axes.plot([p.size for p in members], [100 * p.f1 for p in members], label=group, linewidth=1, **style)
    for point in found.points:
        if not point.group:
            shape, css = tradeoff.LONE[point.is_baseline, point.best]
            axes.scatter(point.size, 100 * point.f1, marker=_MARKERS[shape], color=_COLOURS[css], zorder=3)
    if found.ceiling is not None:
        axes.axhline(100 * found.ceiling, color=LIGHT[1], linewidth=1, linestyle="--", label="ceiling")
    if found.reference is not None:
        name, size = found.reference
        axes.axvline(size, color=_SOFT, linewidth=1, linestyle=":", label=name)
    if tradeoff.is_log(found):
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    if found.groups or found.ceiling is not None or found.reference is not None:
        figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=3)
    axes.set(title=found.title, xlabel=found.axis, ylabel=tradeoff.Y_AXIS)
    _labels(figure, axes, found)


def _labels(figure: Figure, axes: Axes, found: sizes.Tradeoff) -> None:
    """The page's labels, placed by the same rules once the plot has its shape."""
    figure.draw_without_rendering()
    size = 7.5
    pixels = TEXT_SIZE / size * 72 / figure.dpi  # the rules are for text of the page's size

    def place(x: float, y: float) -> tuple[float, float]:
        left, up = axes.transData.transform((x, y))
        return pixels * left, -pixels * up

    low, high = axes.transAxes.transform([(0, 0), (1, 1)])
    limits = (pixels * low[0], -pixels * high[1], pixels * high[0] + 20, -pixels * low[1])
    spots = {arm.name: place(arm.size, 100 * arm.f1) for arm in found.points}
    there = tradeoff.labels(found, lambda arm: spots[arm.name], [], limits)
    for arm in found.points:
        if arm.name in there:
            (left, middle), (x, y) = there[arm.name], spots[arm.name]
            offset = (left - x) * size / TEXT_SIZE, (y - middle) * size / TEXT_SIZE
            at: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": size}
            axes.annotate(tradeoff.label_of(arm), (arm.size, 100 * arm.f1), offset, **at)


def _grid(figure: Figure, cells: Sequence[data.Cell]) -> None:
    from matplotlib.patches import Rectangle

    axes = figure.add_subplot()
    ranks = sorted({cell.rank for cell in cells})
    columns = list(dict.fromkeys(cell.layers for cell in grid.order(list(cells))))
    scores = [f1 for cell in cells for _, f1, _ in cell.arms]
    for cell in cells:
        x, y, height = columns.index(cell.layers), ranks.index(cell.rank), 1 / len(cell.arms)
        for number, (value, f1, _) in enumerate(cell.arms):
            shade = 0.1 + 0.5 * data.depth(f1, min(scores), max(scores))
            box = Rectangle((x + 0.03, y + number * height), 0.94, height - 0.03, color=_BEST, alpha=shade, linewidth=0)
            axes.add_patch(box)
            middle = y + (number + 0.5) * height
            axes.text(x + 0.5, middle, f"{data.ALPHA}{value:g}   {points(f1)}", ha="center", va="center", fontsize=8)
    axes.set(xlim=(0, len(columns)), ylim=(len(ranks), 0), title=f"{grid.TITLE} (points)", ylabel="LoRA rank")
    axes.set_xticks([number + 0.5 for number in range(len(columns))], columns)
    axes.set_yticks([number + 0.5 for number in range(len(ranks))], [str(rank) for rank in ranks])
    axes.set_xlabel("LoRA on")
    axes.tick_params(length=0)


def _sensitivity(figure: Figure, found: settings.Curves) -> None:
    panels = figure.subplots(1, 1 + found.has_cosine, squeeze=False)[0]
    apart = min(0.1, sensitivity.SHARE / len(found.lines))
    for number, line in enumerate(found.lines):
        style, shift = _look(number), apart * (number - (len(found.lines) - 1) / 2)
        x = [found.values.index(point.value) + shift for point in line.points]
        panels[0].plot(x, [100 * point.arm.estimate for point in line.points], label=line.label, **style)
        for left, point in zip(x, line.points, strict=True):
            if point.arm.outer:
                panels[0].plot([left] * 2, [100 * e for e in point.arm.outer], color=style["color"], linewidth=0.9)
        if found.has_cosine:
            pairs = [(left, p.cosine) for left, p in zip(x, line.points, strict=True) if p.cosine is not None]
            panels[1].plot([left for left, _ in pairs], [value for _, value in pairs], **style)
    panels[0].axhline(0, color=_INK, linewidth=0.8)
    for axes, name in zip(panels, (sensitivity.Y_AXIS, sensitivity.COSINE_AXIS), strict=False):
        axes.set_xticks(range(len(found.values)), [settings.written(value) for value in found.values])
        axes.set(xlabel=sensitivity.x_axis(found), ylabel=name)
    if len(found.lines) > 1:
        figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=4 if found.has_cosine else 2)
    figure.suptitle(sensitivity.title(found), fontsize=10.5)


def _curves(figure: Figure, panels: Sequence[data.Panel], analysis: Mapping[str, Any], rows: int) -> None:
    best = next((row["name"] for row in analysis["rows"] if row["best"]), None)
    base = next((row["name"] for row in analysis["rows"] if row["is_baseline"]), None)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, 2, number + 1)
        for name, pairs in sorted(panel.lines, key=lambda item: item[0] in (best, base)):
            colour, width = (_BEST, 1.6) if name == best else (_INK, 1.4) if name == base else (_FAINT, 0.8)
            style = "--" if name == base and name != best else "-"
            label = name if name in (best, base) else None
            steps, values = zip(*pairs, strict=True)
            axes.plot(steps, values, color=colour, linewidth=width, linestyle=style, label=label)
        if curves.is_log(panel):
            axes.set_yscale("log")
        axes.set(title=panel.title, xlabel=curves.X_AXIS, ylabel=panel.axis.replace(" of ", "\nof "))
        if number == 0 and (best or base):
            axes.legend(frameon=False, fontsize=8)


def _frequency(figure: Figure, buckets: Sequence[Mapping[str, Any]]) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    places = range(len(buckets))
    for number, (key, name, shape) in enumerate(frequency.LINES):
        values = [float("nan") if bucket[key] is None else bucket[key] for bucket in buckets]
        above.plot(places, values, marker=_MARKERS[shape], color=LIGHT[number], label=name)
    above.legend(frameon=False, fontsize=8)
    above.set(title=frequency.TITLE, ylabel="cosine")
    below.bar(places, [100 * (bucket["share_of_tokens"] or 0) for bucket in buckets], color=_FAINT, width=0.6)
    below.set(xlabel=frequency.X_AXIS, ylabel="share of tokens (%)")
    below.set_xticks(places, [str(bucket["bucket"]) for bucket in buckets])


def _wire(figure: Figure, forms: Sequence[Mapping[str, Any]]) -> None:
    axes = figure.add_subplot()
    found = sorted(forms, key=lambda form: -form["bits"])
    for number, form in enumerate(found):
        colour, marker = (LIGHT[1], "s") if form["larger_than_id"] else (LIGHT[0], "o")
        axes.plot(form["bits"], number, marker, color=colour)
        axes.annotate(wire.bits(form["bits"]), (form["bits"], number), (7, 0), textcoords="offset points", va="center")
        if form["form"] == TOKEN_ID:
            axes.axvline(form["bits"], color=_SOFT, linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set_yticks(range(len(found)), [form["form"] for form in found])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set(title=wire.TITLE, xlabel=wire.AXIS)
