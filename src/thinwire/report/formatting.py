"""How numbers are written in the page and its figures: the same way everywhere, and a dash where there is none."""

from __future__ import annotations

MISSING = "–"  # noqa: RUF001 - a typographic dash, on purpose
_MINUS = "−"  # noqa: RUF001 - as wide as a plus sign, so that columns of signed numbers line up


def points(fraction: float | None) -> str:
    """A fraction as points: 0.4497 is ``45.0``."""
    return MISSING if fraction is None else _typeset(f"{100 * fraction:.1f}")


def signed(fraction: float | None) -> str:
    """A difference of fractions as signed points: 0.1273 is ``+12.7``; what rounds to nothing has no sign."""
    return MISSING if fraction is None else _typeset(f"{100 * fraction:+.1f}")


def step(fraction: float) -> str:
    """A difference on an axis, without needless decimals: ``+5``, ``0``."""
    return _typeset(f"{100 * fraction:+g}")


def interval(low: float | None, high: float | None) -> str:
    """Both ends as signed points, ``[+9.7, +15.7]``."""
    return MISSING if low is None or high is None else f"[{signed(low)}, {signed(high)}]"


def percent(fraction: float | None) -> str:
    """A share as a whole percentage; one that rounds to 0 or 100 without being it keeps a decimal."""
    if fraction is None:
        return MISSING
    whole = f"{100 * fraction:.0f}"
    exact = fraction in (0, 1) or whole not in ("0", "-0", "100")
    return _typeset(whole if exact else f"{100 * fraction:.1f}") + " %"


def decimal(value: float | None, places: int = 3) -> str:
    """A plain number with fixed places."""
    return MISSING if value is None else _typeset(f"{value:,.{places}f}")


def whole(value: float | None) -> str:
    """A count with thousands separated, in full."""
    return MISSING if value is None else _typeset(f"{value:,.0f}")


def short(value: float) -> str:
    """A count for an axis: ``1.5 M``, ``250 k``, ``12``."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def p_value(value: float | None) -> str:
    """A p-value with three places; smaller ones as ``<0.001``."""
    if value is None:
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def plain(value: object) -> str:
    """A setting (rank, alpha, layers) as it is; 16.0 is ``16``."""
    if value is None:
        return MISSING
    return f"{value:g}" if isinstance(value, float) else str(value)


def _typeset(number: str) -> str:
    if float(number.replace(",", "")) == 0:
        number = number.lstrip("+-")
    return number.replace("-", _MINUS)
