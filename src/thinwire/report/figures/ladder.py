"""How much each single change of the baseline costs or gains, and below these what several changes at once do."""

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.changes import Ladder, Rung
from thinwire.report.figures.data.changes import ladder as pick
from thinwire.report.figures.svg.axes import Scale, above, columns, labelled, nice_ticks, x_axis
from thinwire.report.figures.svg.elements import line, mark, rect, text_at, tip
from thinwire.report.figures.svg.figure import Drawing, Figure
from thinwire.report.figures.svg.text import clipped, text_width
from thinwire.report.formatting import interval, points, signed

TITLE = "What each change does to the baseline"
AXIS = "{} (points)"
COMBINED = "several changes at once"
_COLUMNS = (44.0, 176.0)
"""Widths of the columns: the score, the difference."""
_HEAD, _GAP, _BAR = 32.0, 34.0, 9.0
_MANY = 16
"""From more rows than this on, they are closer together."""


def figure(analysis: Analysis) -> Figure | None:
    """The baseline and its changes; None where single changes are too few, or all of a kind."""
    found = pick(analysis)
    if found is None:
        return None
    caption = (
        f"Bars go from the baseline's {found.metric} to the arm's, with simultaneous {found.confidence} intervals of "
        "the difference; grey: the interval holds zero."
    )
    caption += " Each arm above the line changes one thing alone." if found.combined else ""
    return Figure("ladder", TITLE, caption, lambda width: draw(found, width))


def draw(found: Ladder, width: float) -> Drawing:
    """Bars from the baseline's score to each arm's; under 600 pixels names and numbers stand above the bars."""
    narrow = width < 600
    row = 42.0 if narrow else 27.0 if len(found.rungs) <= _MANY else 22.0
    left = 8.0 if narrow else min(330.0, max(text_width(rung.label, bold=rung.arm.best) for rung in found.rungs) + 18)
    beside = width - sum(_COLUMNS)  # where the columns begin, which a long name of the score needs more room before
    right = width - 8.0 if narrow else beside - max(14.0, text_width(found.metric) - _COLUMNS[0] + 28)
    ticks = nice_ticks(*found.span(), 4 if narrow else 6)
    scale = Scale(ticks[0], ticks[-1], left + 8, right - 8)
    apart = _HEAD + row * len(found.single) + _GAP  # where combinations begin
    tops = [_HEAD + row * number for number in range(len(found.single))]
    tops += [apart + row * number for number in range(len(found.combined))]
    bottom = tops[-1] + row
    parts = [
        line(scale(found.score), top + (20 if narrow else 0), scale(found.score), top + row, "zero") for top in tops
    ]
    for rung, top in zip(found.rungs, tops, strict=True):
        parts.append(_bar(rung, found, scale, top + row - (11 if narrow else row / 2)))
        if narrow:  # what was changed needs the room; the interval is drawn, and in the text behind the mark
            parts.append(above(rung.label, signed(rung.arm.estimate), width, top + 16, rung.arm.best))
        else:
            parts.append(_beside(rung, left, beside, top + row / 2))
    if found.combined:
        parts += [line(0, apart - _GAP + 8, width, apart - _GAP + 8, "axis"), text_at(COMBINED, 8, apart - 6, "name")]
    label = f"{found.baseline} {points(found.score)}"
    half = text_width(label) / 2
    centre = min(max(scale(found.score), half), right + 8 - half)
    parts += [text_at(label, centre, _HEAD - 16, "value", "middle")]
    parts += [line(scale(found.score), _HEAD - 11, scale(found.score), _HEAD, "zero")]
    parts.append(
        x_axis(
            scale, labelled(ticks, lambda value: f"{100 * value:g}"), (left, right), bottom, AXIS.format(found.metric)
        )
    )
    if not narrow:
        heads = [found.metric, f"difference [{found.confidence}]"]
        parts.append(columns(_COLUMNS, heads, beside, _HEAD - 16, "tick"))
    return Drawing(width, bottom + 46, describe(found), "".join(parts))


def css(rung: Rung) -> str:
    """A gain, a cost, or (grey) what may be neither: its interval holds zero."""
    low, high = rung.arm.outer or (-1.0, 1.0)
    return "soft" if low <= 0 <= high else "c0" if rung.arm.estimate > 0 else "c1"


def _bar(rung: Rung, found: Ladder, scale: Scale, y: float) -> str:
    start, end = sorted((scale(found.score), scale(rung.arm.score)))
    text = _sentence(rung, found)
    parts = [rect(start, y - _BAR / 2, end - start, _BAR, f"change {css(rung)}")]
    if rung.arm.outer:
        ends = [found.score + value for value in rung.arm.outer]
        low, high = (scale(max(scale.low, end)) for end in ends)
        parts += [line(scale(x), y - 4, scale(x), y + 4, f"outer {css(rung)}") for x in ends if x >= scale.low]
        parts += [line(low, y, high, y, f"outer {css(rung)}")]
    shape = "diamond" if rung.arm.best else "circle"
    return "".join([*parts, mark(shape, scale(rung.arm.score), y, css(rung), 4.5, text)])


def _beside(rung: Rung, left: float, begin: float, y: float) -> str:
    weight = " strong" if rung.arm.best else ""
    name = clipped(rung.label, left - 14, rung.arm.best)
    label = text_at(name, left - 10, y + 4.5, f"label{weight}", "end", tip(rung.changes))
    texts = (points(rung.arm.score), _difference(rung))
    return label + columns(_COLUMNS, texts, begin, y + 4.5, f"value{weight}")


def _difference(rung: Rung) -> str:
    return signed(rung.arm.estimate) + (f" {interval(*rung.arm.outer)}" if rung.arm.outer else "")


def _sentence(rung: Rung, found: Ladder) -> str:
    text = f"{rung.arm.name} ({rung.changes}): {found.metric} {points(rung.arm.score)}, {signed(rung.arm.estimate)}"
    return text + (f", simultaneous {found.confidence} {interval(*rung.arm.outer)}" if rung.arm.outer else "")


def describe(found: Ladder) -> str:
    """The figure in words: the baseline, single changes, combinations."""
    parts = [f"{found.baseline}: {found.metric} {points(found.score)}, the baseline"]
    parts += [_sentence(rung, found) for rung in found.single]
    parts += [f"{COMBINED}: {_sentence(found.combined[0], found)}"] if found.combined else []
    return "; ".join([*parts, *(_sentence(rung, found) for rung in found.combined[1:])]) + "."
