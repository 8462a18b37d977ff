import pytest

from thinwire.errors import UsageError
from thinwire.stats.ceiling import ceiling_share, paired_ceiling_share
from thinwire.stats.inference import Interval
from thinwire.stats.pairing import Run


def run(scores):
    ids = tuple(f"q{i}" for i in range(len(scores)))
    return Run(ids=ids, paragraph_ids=ids, scores=tuple(scores))


def test_the_share_of_the_ceiling_is_worked_out_by_hand():
    # (0.45 - 0.05) / (0.55 - 0.05)
    assert ceiling_share(0.45, 0.05, 0.55).share == pytest.approx(0.8)
    assert ceiling_share(0.6, 0.05, 0.55).share == pytest.approx(1.1)


@pytest.mark.parametrize(("codec", "ceiling"), [(None, 0.5), (0.1, None), (0.5, 0.5), (0.5, 0.4)])
def test_there_is_no_share_of_a_ceiling_that_is_missing_or_not_above(codec, ceiling):
    found = ceiling_share(0.3, codec, ceiling)
    assert (found.share, found.interval) == (None, None)
    assert ("control" if None in (codec, ceiling) else "not above") in found.reason


def test_a_share_that_is_the_same_everywhere_has_no_spread():
    found = paired_ceiling_share([run([0.5, 0.25, 0.5])], run([0.0] * 3), run([1.0, 0.5, 1.0]))
    assert found.share == pytest.approx(0.5)
    assert (found.interval.low, found.interval.high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert found.reason is None


def test_the_interval_of_a_share_is_that_of_the_exact_distribution():
    # Two paragraphs, gains 1 and 0 of room 1 and 1: both, one, or none drawn twice make 1, 0.5, 0.
    found = paired_ceiling_share([run([1.0, 0.0])], run([0.0] * 2), run([1.0] * 2))
    assert (found.share, found.interval) == (0.5, Interval(low=0.0, high=1.0))


def test_the_share_of_several_runs_is_of_their_mean_and_its_interval_covers_them():
    # No paragraph differs from another: what is left is a t interval of three runs, spread 0.3, two degrees of freedom.
    arms = [run([score] * 2) for score in (0.2, 0.5, 0.8)]
    found = paired_ceiling_share(arms, run([0.0] * 2), run([1.0] * 2))
    reach = 4.302653 * 0.3 / 3**0.5
    assert found.share == pytest.approx(0.5)
    assert (found.interval.low, found.interval.high) == (pytest.approx(0.5 - reach), pytest.approx(0.5 + reach))
    with pytest.raises(UsageError, match="missing"):
        paired_ceiling_share([*arms, run([0.5])], run([0.0] * 2), run([1.0] * 2))


def test_equal_runs_leave_the_share_the_spread_over_questions():
    # As above, 0, 0.5 and 1 with a quarter, a half and a quarter: a standard deviation of the root of 1 / 8.
    found = paired_ceiling_share([run([1.0, 0.0])] * 3, run([0.0] * 2), run([1.0] * 2))
    assert found.interval.high - 0.5 == pytest.approx(1.95996 * 0.125**0.5, rel=0.02)


def test_a_ceiling_that_is_not_surely_above_leaves_the_share_without_an_interval():
    # A quarter of the resamples draw the second paragraph twice, where codec only is above the ceiling.
    found = paired_ceiling_share([run([0.5, 0.5])], run([0.0, 0.5]), run([1.0, 0.0]))
    assert found.share == pytest.approx((0.5 - 0.25) / (0.5 - 0.25))
    assert found.interval is None
    assert "not surely above" in found.reason


def test_paired_shares_that_cannot_be_are_stated():
    one = run([0.5])
    assert paired_ceiling_share([one], None, one).share is None
    assert paired_ceiling_share([one], one, one).share is None
    alone = paired_ceiling_share([one], run([0.0]), run([1.0]))
    assert (alone.share, alone.interval, alone.reason) == (0.5, None, "one paragraph only")
    with pytest.raises(UsageError, match="missing"):
        paired_ceiling_share([run([0.5, 0.5])], one, one)
