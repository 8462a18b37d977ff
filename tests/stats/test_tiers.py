import pytest

from thinwire.stats.tiers import TIERS, Tiers, planned_tier


@pytest.mark.parametrize(
    ("low", "high", "tier"),
    [
        (-0.05, -0.001, "harm"),
        (-0.05, 0.0, "no help"),  # an interval that reaches 0 is not wholly below it
        (-0.001, 0.0199, "no help"),
        (0.0, 0.0199, "no help"),
        (0.0004, 0.0159, "slight"),
        (0.0004, 0.02, None),  # a gain, but it may count
        (-0.05, 0.02, None),
        (0.02, 0.5, "marginal"),
        (0.29 - 0.24, 0.5, "significant"),  # 0.04999999999999999
        (0.1, 0.5, "strong"),
        (0.12, 0.12, None),  # no width
        (0.0, 0.0, None),
    ],
)
def test_what_an_interval_shows(low, high, tier):
    assert Tiers().supported(low, high) == tier


def test_next_steps_are_those_of_a_tier_of_the_plan():
    assert [planned_tier(tier) for tier in ("harm", "slight")] == ["no help", "no help"]
    assert [planned_tier(tier) for tier in TIERS] == list(TIERS)
