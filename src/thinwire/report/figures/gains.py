"""Gains beside their reference gains: does an arm gain more than the reference does?"""

from collections.abc import Sequence
from itertools import chain

from thinwire.report.analysis_record import Analysis, Gain, InteractionSummary
from thinwire.report.figures.data.rows import confidence
from thinwire.report.figures.svg.axes import Scale, columns, labelled, legend, nice_ticks, x_axis
from thinwire.report.figures.svg.elements import line, mark, text_at
from thinwire.report.figures.svg.figure import Drawing, Figure
from thinwire.report.figures.svg.palette import look
from thinwire.report.figures.svg.text import clipped, text_width
from thinwire.report.formatting import interval, signed, step

AXIS = "gain in {} over its own baseline (points)"
_HEAD = "difference [{}]"
_COLUMN = 190.0
_ROW_HEIGHT = 44.0
_APART = 8.0
"""Pixels from the middle of a row to either gain."""


def figure(analysis: Analysis) -> Figure | None:
    """The gains of all interactions; None where there is none."""
    found, level = analysis.interactions, confidence(analysis)
    if not found:
        return None
    of_compression = all(one.of_compression for one in found)
    title = "LoRA's gain on compressed and on uncompressed input" if of_compression else "Gains and reference gains"
    keys = ("compressed input", "uncompressed input") if of_compression else ("gain", "reference gain")
    if all(one.block_size for one in found):
        title = "LoRA's gain on fewer positions and where every token has its own"
        keys = ("fewer positions", "a position for every token")
    caption = f"Lines: {level} intervals. Which gain is larger, the interval of their difference decides."
    axis = AXIS.format(analysis.task.label)
    return Figure("gains", title, caption, lambda width: draw(found, keys, level, axis, width))


def draw(found: Sequence[InteractionSummary], keys: Sequence[str], level: str, axis: str, width: float) -> Drawing:
    """A row for each interaction: its gain above its reference gain, and their difference as a number."""
    narrow = width < 600
    drawn_keys, rows = legend(keys, width)
    top = 52.0 + rows
    left = min(0.4 * width, max(text_width(one.name) for one in found) + 18)
    right = width - 8 if narrow else width - _COLUMN - 14
    gains = list(chain.from_iterable((one.gain, one.reference_gain) for one in found))
    ends = [end for gain in gains for end in (gain.estimate, gain.low, gain.high) if end is not None]
    ticks = nice_ticks(min(0.0, *ends), max(0.0, *ends), 4 if narrow else 7)
    scale = Scale(ticks[0], ticks[-1], left + 8, right - 8)
    bottom = top + _ROW_HEIGHT * len(found)
    parts = [drawn_keys, *(line(scale(tick), top, scale(tick), bottom, "grid") for tick in ticks)]
    parts += [line(scale(0), top, scale(0), bottom, "zero")]
    for number, one in enumerate(found):
        y = top + _ROW_HEIGHT * (number + 0.5)
        parts.append(text_at(clipped(one.name, left - 14), left - 10, y + 4.5, "label", "end"))
        for kind, (gain, shift) in enumerate(((one.gain, -_APART), (one.reference_gain, _APART))):
            parts.append(_gain(gain, kind, f"{one.name}, {keys[kind]}: {_written(gain)}", scale, y + shift))
        if not narrow:
            parts.append(columns([_COLUMN], [_written(one.difference)], right + 14, y + 4.5, "value"))
    if not narrow:
        parts.append(columns([_COLUMN], [_HEAD.format(level)], right + 14, top - 12, "tick"))
    parts.append(x_axis(scale, labelled(ticks, step), (left, right), bottom, axis))
    return Drawing(width, bottom + 46, describe(found, keys), "".join(parts))


def _gain(gain: Gain, kind: int, words: str, scale: Scale, y: float) -> str:
    colour, shape, _ = look(kind)
    css = f"c{colour}"
    parts = []
    if gain.low is not None and gain.high is not None:
        parts.append(line(scale(gain.low), y, scale(gain.high), y, f"outer {css}"))
    return "".join([*parts, mark(shape, scale(gain.estimate), y, css, 5, words)])


def _written(gain: Gain) -> str:
    return signed(gain.estimate) + (f" {interval(gain.low, gain.high)}" if gain.low is not None else "")


def describe(found: Sequence[InteractionSummary], keys: Sequence[str]) -> str:
    """The figure in words."""
    return (
        "; ".join(
            f"{one.name}: {keys[0]} {_written(one.gain)}, {keys[1]} {_written(one.reference_gain)}, "
            f"difference {_written(one.difference)}"
            for one in found
        )
        + "."
    )
