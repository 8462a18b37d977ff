import time

import numpy as np
import pytest
import scipy.stats

from thinwire.errors import UsageError
from thinwire.stats.ceiling import ceiling_share, paired_ceiling_shares
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


def paired_ceiling_share(arm, codec_only, ceiling, *, others=()):
    """The share of the first of several arms."""
    return paired_ceiling_shares([arm, *others], codec_only, ceiling)[0]


def flat(level, offsets=(0.0,), num=20, slope=1e-7):
    """Runs of constant means whose questions hardly vary."""
    return [run((level + offset + slope * level * np.arange(num)).tolist()) for offset in offsets]


def noisy(level, seed, num_runs, num=200):
    rng = np.random.default_rng(seed)
    return [run((level + 0.3 * rng.random(num)).tolist()) for _ in range(num_runs)]


def test_where_only_the_arms_runs_vary_the_interval_is_students_t_of_the_pooled_variance():
    # Means 0.2, 0.5, 0.8 of the arm and three equal ones of the ceiling: 0.18 over 2 + 2 degrees is 0.045 a run; the
    # arm's own 0.18 / 2 is larger and counts for its runs.
    arms, ceiling = flat(0.5, (-0.3, 0, 0.3)), flat(1.0, (0, 0, 0), slope=-1e-7)
    found = paired_ceiling_share(arms, [run([0.0] * 20)], ceiling)
    # Fieller: (0.5 - s)^2 = t^2 * (0.09 / 3 + s^2 * 0.045 / 3)
    square = scipy.stats.t.isf(0.025, 4) ** 2 * 0.015
    low, high = sorted(np.roots([1 - square, -1.0, 0.25 - 2 * square]))
    assert found.share == pytest.approx(0.5, abs=1e-5)
    assert (found.interval.low, found.interval.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_one_seed_everywhere_gives_no_interval():
    found = paired_ceiling_share(noisy(0.3, 1, 1), noisy(0.0, 2, 1), noisy(0.6, 3, 1))
    assert 0.3 < found.share < 0.7
    assert (found.interval, found.reason) == (None, "one seed: how much the share varies with training is not known")


def test_other_groups_tell_the_spread_over_seeds_of_single_runs():
    one, codec, ceiling = noisy(0.3, 1, 1), noisy(0.0, 2, 1), noisy(0.6, 3, 1)
    found = paired_ceiling_share(one, codec, ceiling, others=[noisy(0.2, 4, 3)])
    assert found.reason is None
    assert found.interval.low < found.share < found.interval.high
    more = paired_ceiling_share(one, codec, ceiling, others=[noisy(0.2, 4, 3), noisy(0.2, 5, 5), noisy(0.2, 6, 5)])
    assert more.share == found.share
    assert more.interval.high - more.interval.low < found.interval.high - found.interval.low


def test_several_runs_of_the_codec_add_their_own_spread():
    arm, ceiling = noisy(0.3, 1, 3), noisy(0.6, 3, 3)
    codec = noisy(0.0, 2, 1)
    width = lambda found: found.interval.high - found.interval.low  # noqa: E731
    fixed, trained = (paired_ceiling_share(arm, runs, ceiling) for runs in (codec, codec * 2))
    assert trained.share == pytest.approx(fixed.share)
    # Equal runs add a degree of freedom as well as their share of the variance; the latter is more.
    assert width(trained) != pytest.approx(width(fixed))


def test_a_ceiling_that_is_not_surely_above_leaves_the_share_without_an_interval():
    rng = np.random.default_rng(0)
    scores = [run(rng.random(30).tolist()) for _ in range(7)]
    by_mean = sorted(scores, key=lambda one: np.mean(one.scores))
    found = paired_ceiling_share(by_mean[2:4], by_mean[:1], by_mean[4:6])
    assert found.share is not None
    assert found.interval is None
    assert found.reason == "text + LoRA is not surely above codec only"


def test_paired_shares_that_cannot_be_are_stated():
    one = run([0.5])
    assert paired_ceiling_share([one], None, [one]).share is None
    assert paired_ceiling_share([one], [one], [one]).share is None
    alone = paired_ceiling_share([one], [run([0.0])], [run([1.0])])
    assert (alone.share, alone.interval) == (0.5, None)
    assert alone.reason == "1 question about 1 paragraph: an interval needs at least 6 paragraphs"
    same = paired_ceiling_share([run([0.5] * 20)] * 2, [run([0.5] * 20)], [run([1.0] * 20)] * 2)
    assert (same.share, same.interval) == (0.0, None)
    assert same.reason == "fewer than 6 paragraphs differ from codec only"
    with pytest.raises(UsageError, match="missing"):
        paired_ceiling_share([run([0.5, 0.5])], [one], [one])


def test_shares_of_many_arms_are_those_of_each_before_the_others():
    codec, ceiling = noisy(0.0, 2, 1), noisy(0.6, 3, 3)
    arms = [noisy(0.2 + 0.05 * seed, seed, 1 + seed % 3) for seed in range(7)]
    together = paired_ceiling_shares(arms, codec, ceiling)
    for number, (arm, found) in enumerate(zip(arms, together, strict=True)):
        others = [other for other in (*arms[:number], *arms[number + 1 :]) if len(other) > 1]
        alone = paired_ceiling_share(arm, codec, ceiling, others=others)
        assert (found.share, found.reason) == (pytest.approx(alone.share, rel=1e-12), alone.reason)
        assert found.interval.low == pytest.approx(alone.interval.low, rel=1e-9)
        assert found.interval.high == pytest.approx(alone.interval.high, rel=1e-9)


def test_shares_of_a_thousand_arms_take_a_moment():
    """One panel serves all: time grows with their number, not with its square."""
    codec, ceiling = noisy(0.0, 2, 1, num=40), noisy(0.6, 3, 3, num=40)
    arms = [noisy(0.3, seed, 2, num=40) for seed in range(1000)]
    started = time.process_time()
    assert all(found.interval for found in paired_ceiling_shares(arms, codec, ceiling))
    assert time.process_time() - started < 5
