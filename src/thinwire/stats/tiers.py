"""The tiers that a gain over the baseline falls into, by thresholds in F1 points."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import model_validator
from typing_extensions import Self

from thinwire.schema import Rate, Section

Tier = Literal["no help", "marginal", "significant", "strong"]
TIERS: tuple[Tier, ...] = get_args(Tier)
"""From the lowest to the highest."""

ROUNDING = 1e-9
"""F1 points by which a difference may miss a threshold: 0.29 - 0.24 is a little less than 0.05 in binary."""


class Tiers(Section):
    """The least gain over the baseline of each tier, in F1 points; less than ``marginal`` is no help."""

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
        """Return F1 points, from the lowest tier that helps to the highest."""
        return {"marginal": self.marginal, "significant": self.significant, "strong": self.strong}

    def of(self, difference: float) -> Tier:
        """Return the tier of a difference, which is a fraction."""
        reached = [tier for tier, least in self.thresholds().items() if difference * 100 >= least - ROUNDING]
        return reached[-1] if reached else "no help"
