"""Bits that each form of a token needs on a wire."""

from collections.abc import Sequence

from thinwire.report.analysis_record import Analysis, WireSize
from thinwire.report.figures.data.codes import wire_forms
from thinwire.report.figures.svg.axes import Scale, labelled, log_ticks, x_axis
from thinwire.report.figures.svg.elements import line, mark, text_at
from thinwire.report.figures.svg.figure import HALF, Drawing, Figure
from thinwire.report.figures.svg.text import text_width
from thinwire.report.formatting import decimal

TITLE = "Bits on the wire for one token"
AXIS = "bits a token (logarithmic)"


def figure(analysis: Analysis) -> Figure | None:
    """The forms of a token; None if nothing is compressed."""
    forms = wire_forms(analysis)
    if not forms:
        return None
    caption = "The dashed line is the token id."
    if larger := [form.form for form in forms if form.larger_than_id]:
        caption += f" Larger than the id, so no saving on a wire: {', '.join(larger)} (squares)."
    return Figure("wire", TITLE, caption, lambda width: draw(forms, width), HALF)


def draw(forms: Sequence[WireSize], width: float) -> Drawing:
    """A row each, most bits first; the token id as a line, as nothing above it saves anything."""
    left = max(text_width(form.form) for form in forms) + 16
    ticks = log_ticks(forms[-1].bits, forms[0].bits)
    top, row_height = 8, 28
    bottom = float(top + row_height * len(forms))
    scale = Scale(ticks[0], ticks[-1], left, width - 58, log=True)
    parts = [line(scale(value), top, scale(value), bottom, "grid") for value in ticks]
    parts += [line(scale(f.bits), top, scale(f.bits), bottom, "ceiling") for f in forms if f.is_token_id]
    for number, form in enumerate(forms):
        y = top + row_height * (number + 0.5)
        css, shape = ("c1", "square") if form.larger_than_id else ("c0", "circle")
        parts += [text_at(form.form, left - 10, y + 4.5, "label", "end")]
        parts += [mark(shape, scale(form.bits), y, css, 5, f"{form.form}: {bits(form.bits)} bits a token")]
        parts += [text_at(bits(form.bits), scale(form.bits) + 11, y + 4.5, "value")]
    parts += [x_axis(scale, labelled(ticks, lambda value: f"{value:,g}"), (left, width - 58), bottom, AXIS)]
    return Drawing(width, bottom + 46, describe(forms), "".join(parts))


def bits(value: float) -> str:
    """Whole bits as they are, others with one decimal."""
    return decimal(value, 0 if float(value).is_integer() else 1)


def describe(forms: Sequence[WireSize]) -> str:
    """The figure in words, most bits first."""
    lines = (
        f"{form.form}: {bits(form.bits)} bits" + (", more than the token id" if form.larger_than_id else "")
        for form in forms
    )
    return "; ".join(lines) + "."
