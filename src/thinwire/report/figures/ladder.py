"""How much each single change of the baseline costs or gains, and below these what several changes at once do."""

from thinwire.report.figures.changes import Ladder, Rung
from thinwire.report.figures.svg import Scale, clipped, drawing, line, mark, nice_ticks, rect, text_width, tip, words
from thinwire.report.numbers import interval, points, signed

TITLE = "What each change does to the baseline"
AXIS = "F1 (points)"
COMBINED = "several changes at once"
_COLUMNS = (("F1", 44.0), ("difference [{}]", 176.0))
_HEAD, _GAP, _BAR = 32.0, 34.0, 9.0


def draw(found: Ladder, width: float) -> str:
    """Bars from the baseline's F1 to each arm's; under 600 pixels names and numbers stand above the bars."""
    narrow = width < 600
    row = 42.0 if narrow else 27.0
    left = 8.0 if narrow else min(330.0, max(text_width(rung.label) for rung in found.rungs) + 18)
    right = width - 8.0 if narrow else width - sum(size for _, size in _COLUMNS) - 14
    ticks = nice_ticks(*found.span(), 4 if narrow else 6)
    scale = Scale(ticks[0], ticks[-1], left + 8, right - 8)
    apart = _HEAD + row * len(found.single) + _GAP  # where combinations begin
    tops = [_HEAD + row * number for number in range(len(found.single))]
    tops += [apart + row * number for number in range(len(found.combined))]
    bottom = tops[-1] + row
    parts = [line(scale(found.f1), top + (20 if narrow else 0), scale(found.f1), top + row, "zero") for top in tops]
    for rung, top in zip(found.rungs, tops, strict=True):
        parts.append(_bar(rung, found, scale, top + row - (11 if narrow else row / 2)))
        parts.append(_above(rung, width, top + 16) if narrow else _beside(rung, left, right, top + row / 2))
    if found.combined:
        parts += [line(0, apart - _GAP + 8, width, apart - _GAP + 8, "axis"), words(COMBINED, 8, apart - 6, "name")]
    label = f"{found.baseline} {points(found.f1)}"
    half = text_width(label) / 2
    centre = min(max(scale(found.f1), half), right + 8 - half)
    parts += [words(label, centre, _HEAD - 16, "value", "middle")]
    parts += [line(scale(found.f1), _HEAD - 11, scale(found.f1), _HEAD, "zero")]
    parts.append(_axis(ticks, scale, left, right, bottom))
    parts += [] if narrow else [_column_names(right, found.confidence)]
    return drawing(f"ladder-{width:g}", width, bottom + 46, TITLE, describe(found), *parts)


def css(rung: Rung) -> str:
    """A gain, a cost, or (grey) what may be neither: its interval holds zero."""
    low, high = rung.arm.outer or (-1.0, 1.0)
    return "soft" if low <= 0 <= high else "c0" if rung.arm.estimate > 0 else "c1"


def _bar(rung: Rung, found: Ladder, scale: Scale, y: float) -> str:
    start, end = sorted((scale(found.f1), scale(rung.arm.f1)))
    text = _sentence(rung, found)
    parts = [rect(start, y - _BAR / 2, end - start, _BAR, f"change {css(rung)}")]
    if rung.arm.outer:
        ends = [found.f1 + value for value in rung.arm.outer]
        low, high = (scale(max(scale.low, end)) for end in ends)
        parts += [line(scale(x), y - 4, scale(x), y + 4, f"outer {css(rung)}") for x in ends if x >= scale.low]
        parts += [line(low, y, high, y, f"outer {css(rung)}")]
    shape = "diamond" if rung.arm.best else "circle"
    return "".join([*parts, mark(shape, scale(rung.arm.f1), y, css(rung), 4.5, text)])


def _beside(rung: Rung, left: float, right: float, y: float) -> str:
    weight = " strong" if rung.arm.best else ""
    label = words(clipped(rung.label, left - 14), left - 10, y + 4.5, f"label{weight}", "end", tip(rung.changes))
    x, parts = right + 14, [label]
    for (_, size), text in zip(_COLUMNS, (points(rung.arm.f1), _difference(rung)), strict=True):
        x += size
        parts.append(words(text, x, y + 4.5, f"value{weight}", "end"))
    return "".join(parts)


def _above(rung: Rung, width: float, y: float) -> str:
    """What was changed needs the room; the interval is drawn, and in the text behind the mark."""
    weight, text = " strong" if rung.arm.best else "", signed(rung.arm.estimate)
    name = clipped(rung.label, width - text_width(text) - 18)
    return words(name, 8, y, f"label{weight}") + words(text, width - 8, y, f"value{weight}", "end")


def _difference(rung: Rung) -> str:
    return signed(rung.arm.estimate) + (f" {interval(*rung.arm.outer)}" if rung.arm.outer else "")


def _column_names(right: float, confidence: str) -> str:
    parts, x = [], right + 14
    for name, size in _COLUMNS:
        x += size
        parts.append(words(name.format(confidence), x, _HEAD - 16, "tick", "end"))
    return "".join(parts)


def _axis(ticks: list[float], scale: Scale, left: float, right: float, bottom: float) -> str:
    parts = [line(left, bottom, right, bottom, "axis")]
    for value in ticks:
        parts += [line(scale(value), bottom, scale(value), bottom + 5, "axis")]
        parts += [words(f"{100 * value:g}", scale(value), bottom + 19, "tick", "middle")]
    return "".join([*parts, words(AXIS, (left + right) / 2, bottom + 38, "name", "middle")])


def _sentence(rung: Rung, found: Ladder) -> str:
    text = f"{rung.arm.name} ({rung.changes}): F1 {points(rung.arm.f1)}, {signed(rung.arm.estimate)}"
    return text + (f", simultaneous {found.confidence} {interval(*rung.arm.outer)}" if rung.arm.outer else "")


def describe(found: Ladder) -> str:
    """The figure in words: the baseline, single changes, combinations."""
    parts = [f"{found.baseline}: F1 {points(found.f1)}, the baseline", *(_sentence(r, found) for r in found.single)]
    parts += [f"{COMBINED}: {_sentence(found.combined[0], found)}"] if found.combined else []
    return "; ".join([*parts, *(_sentence(rung, found) for rung in found.combined[1:])]) + "."
