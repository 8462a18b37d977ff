"""Interactions: the differences of two gains that an experiment asks for."""

from __future__ import annotations

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
