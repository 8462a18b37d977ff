"""Interactions: the differences of two gains that an experiment asks for."""

from __future__ import annotations

from pydantic import model_validator
from typing_extensions import Self

from thinwire.schema import Section


class Interaction(Section):
    """The gain of ``arm`` over ``baseline``, minus the gain of ``reference_arm`` over ``reference_baseline``.

    Each is the name of an arm or control of the experiment.
    """

    arm: str
    """Arm of the first gain."""
    baseline: str
    """What the first gain is measured from."""
    reference_arm: str
    """Arm of the gain that is subtracted."""
    reference_baseline: str
    """What the subtracted gain is measured from."""

    @model_validator(mode="after")
    def _gains_differ(self) -> Self:
        for arm, baseline in (self.gain, self.reference_gain):
            if arm == baseline:
                raise ValueError(f"{arm!r} has no gain over itself; name two arms or controls for each gain")
        if self.gain == self.reference_gain:
            raise ValueError("the two gains are the same; their difference is always 0")
        return self

    @property
    def gain(self) -> tuple[str, str]:
        """The arm of the first gain, and what it is measured from."""
        return self.arm, self.baseline

    @property
    def reference_gain(self) -> tuple[str, str]:
        """The arm of the gain that is subtracted, and what it is measured from."""
        return self.reference_arm, self.reference_baseline

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each member's mean in the difference; a baseline that both gains share has none."""
        terms = zip((*self.gain, *self.reference_gain), (1.0, -1.0, -1.0, 1.0), strict=True)
        found: dict[str, float] = {}
        for name, weight in terms:
            found[name] = found.get(name, 0.0) + weight
        return found
