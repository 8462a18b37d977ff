"""The tiers that a gain over the baseline falls into, by thresholds in points: hundredths of the score's range."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from pydantic import model_validator
from typing_extensions import Self

from thinwire.schema import Rate, Section

Tier = Literal["no help", "marginal", "significant", "strong"]
TIERS: tuple[Tier, ...] = get_args(Tier)
"""From the lowest to the highest."""

ResolvedTier: TypeAlias = Tier | Literal["harm", "slight"]
"""What an interval can show: a tier, or below the smallest of them a loss ("harm": wholly below 0) or a gain ("slight":
wholly above 0). "No help" is then an interval around 0 that ends below the smallest tier."""

ROUNDING = 1e-9
"""Points by which a difference may miss a threshold: 0.29 - 0.24 is a little less than 0.05 in binary."""


class Tiers(Section):
    """The least gain over the baseline of each tier, in points of the score (F1); less than ``marginal`` is no help."""

    marginal: Rate = 2.0
    """Smallest gain of the tier "marginal"."""
    significant: Rate = 5.0
    """Smallest gain of the tier "significant"."""
    strong: Rate = 10.0
    """Smallest gain of the tier "strong"."""

    @model_validator(mode="after")
    def _thresholds_rise(self) -> Self:
        if not self.marginal < self.significant < self.strong:
            raise ValueError(f"thresholds must rise, not {self.marginal:g}, {self.significant:g}, {self.strong:g}")
        return self

    def thresholds(self) -> dict[Tier, float]:
        """Return points, from the lowest tier that helps to the highest."""
        return {"marginal": self.marginal, "significant": self.significant, "strong": self.strong}

    def of(self, difference: float) -> Tier:
        """Return the tier of a difference, which is a fraction."""
        reached = [tier for tier, least in self.thresholds().items() if difference * 100 >= least - ROUNDING]
        return reached[-1] if reached else "no help"

    def supported(self, low: float, high: float) -> ResolvedTier | None:
        """Return what an interval from ``low`` to ``high`` (fractions) shows.

        None where it shows nothing: it reaches past the smallest tier and does not lie within the tiers, or it has no
        width, which no data can support.
        """
        if low >= high:
            return None
        tier: ResolvedTier = self.of(low)
        if tier != "no help":
            return tier
        if high * 100 >= self.marginal:
            return None
        return "harm" if high < 0 else "slight" if low > 0 else "no help"


def planned_tier(tier: ResolvedTier) -> Tier:
    """Return the tier whose next steps apply: those of "no help" for all that is below the smallest tier."""
    match tier:
        case "harm" | "slight":
            return "no help"
        case _:
            return tier
