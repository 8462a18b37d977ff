import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.errors import UsageError
from thinwire.stats.bootstrap import compare_to_baseline
from thinwire.stats.pairing import Run


def run(scores, paragraphs=None, prefix="q"):
    """A run; each question is its own paragraph unless told otherwise."""
    ids = tuple(f"{prefix}{i}" for i in range(len(scores)))
    return Run(ids=ids, paragraph_ids=tuple(paragraphs or ids), scores=tuple(map(float, scores)))


def noisy(seed, num=60, gain=0.0):
    """Scores like F1: many 0 and 1; arms of one seed share them but for a third."""
    rng = np.random.default_rng(5)
    base = rng.choice([0, 0, 0.5, 1], num)
    own = np.random.default_rng(seed)
    return np.clip(np.where(own.random(num) < 1 / 3, own.choice([0, 0.5, 1], num), base) + gain, 0, 1)


def only(comparison):
    (arm,) = comparison.arms.values()
    return arm


# Outcomes that have no ordinary interval


def test_equal_scores_are_no_difference_within_what_the_paragraphs_can_tell():
    arm = only(compare_to_baseline([run([0, 1, 0.5] * 4)], {"a": [run([0, 1, 0.5] * 4)]}, num_resamples=200))
    assert arm.outcome == "no difference"
    assert arm.reason == "no difference in all 12 paragraphs: the interval is a bound"
    assert (arm.difference, arm.p_value, arm.adjusted_p_value) == (0.0, 1.0, 1.0)
    assert arm.standard_error is arm.critical is arm.question_variance is None
    # Of 12 paragraphs none differs: with 95 % confidence fewer than 1 - 0.05^(1/12) = 22 % do, by 1 each at most.
    for interval in (arm.percentile, arm.bca, arm.simultaneous):
        assert (interval.low, interval.high) == (pytest.approx(-0.2209, abs=1e-4), pytest.approx(0.2209, abs=1e-4))


def test_the_error_rate_is_split_among_the_arms():
    same = [run([0, 1, 0.5] * 4)]
    found = compare_to_baseline(same, dict.fromkeys("abcde", same), num_resamples=200).arms["a"]
    assert found.simultaneous.high == pytest.approx(1 - 0.01 ** (1 / 12))
    assert found.bca.high == pytest.approx(1 - 0.05 ** (1 / 12))


def test_one_difference_everywhere_is_as_surprising_as_the_number_of_paragraphs_allows():
    arm = only(compare_to_baseline([run([0.0] * 8)], {"a": [run([1.0] * 8)]}, num_resamples=200))
    assert arm.outcome == "same difference"
    # At most 1 - 0.05^(1/8) = 31 % of paragraphs lack the gain of 1, and each of those is a loss of 1 at most.
    assert arm.simultaneous.low == pytest.approx(1 - 2 * 0.3123, abs=1e-4)
    assert arm.simultaneous.high == 1.0
    # The lower end is 0 where half of the paragraphs may lack it, which all 8 show with a probability of 1 / 2^8.
    assert arm.p_value == pytest.approx(2**-8)
    small = only(compare_to_baseline([run([0.1] * 8)], {"a": [run([0.2] * 8)]}, num_resamples=199))
    assert small.simultaneous.low < 0 < small.difference < small.simultaneous.high
    assert small.p_value == pytest.approx((1 - 0.1 / 1.1) ** 8)


def test_few_paragraphs_that_differ_are_bounded_by_the_binomial():
    arm = only(compare_to_baseline([run([0] * 50)], {"a": [run([1, 1, 1] + [0] * 47)]}, num_resamples=200))
    assert arm.outcome == "few differences"
    assert arm.reason == "only 3 of 50 paragraphs differ: the interval is a bound"
    assert arm.difference == pytest.approx(0.06)
    # Three of 50 are better, none is worse; each end has half of the 5 %.
    assert arm.simultaneous.high == pytest.approx(scipy.stats.binomtest(3, 50).proportion_ci(0.95).high)
    assert arm.simultaneous.low == pytest.approx(-scipy.stats.binomtest(0, 50).proportion_ci(0.95).high)
    assert arm.p_value == 1.0


@pytest.mark.parametrize(
    ("paragraphs", "said"),
    [
        (["p"], "1 question about 1 paragraph: an interval needs at least 6 paragraphs"),
        (["p"] * 3, "3 questions about 1 paragraph: an"),
        (list("pqrst"), "5 questions about 5 paragraphs: an"),
        (["p"] * 30 + list("qrstuvw"), "37 questions about 8 paragraphs, so unequal that they count as 1.5: an"),
    ],
)
def test_too_few_paragraphs_have_no_interval(paragraphs, said):
    num = len(paragraphs)
    arm = only(compare_to_baseline([run([0] * num, paragraphs)], {"a": [run([1] * num, paragraphs)]}))
    assert arm.outcome == "too few"
    assert arm.reason.startswith(said)
    assert arm.difference == 1.0
    assert {arm.percentile, arm.bca, arm.simultaneous, arm.p_value, arm.adjusted_p_value, arm.critical} == {None}


def test_an_arm_equal_to_the_baseline_takes_its_part_of_the_error_rate_and_no_more():
    base, other = run(noisy(0)), run(noisy(1))
    alone = compare_to_baseline([base], {"a": [other]}, num_resamples=500, confidence=0.975)
    beside = compare_to_baseline([base], {"a": [other], "same": [base]}, num_resamples=500, confidence=0.95)
    assert beside.arms["a"].simultaneous == alone.arms["a"].simultaneous


def test_an_arm_that_differs_in_one_paragraph_leaves_the_others_their_intervals():
    scores = noisy(0)
    nearly = scores.copy()
    nearly[scores.argmax()] = 0
    found = compare_to_baseline([run(scores)], {"a": [run(noisy(1))], "nearly": [run(nearly)]}, num_resamples=500)
    assert 1.9 < found.arms["a"].critical < 3
    assert found.arms["nearly"].outcome == "few differences"
    assert json.dumps(asdict(found), allow_nan=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: compare_to_baseline([], {"a": [r]}), "needs a baseline run"),
        (lambda r: compare_to_baseline([r], {}), "at least one arm"),
        (lambda r: compare_to_baseline([r], {"a": []}), "at least one run of each arm"),
        (lambda r: compare_to_baseline([r], {"a": [r]}, num_resamples=99), "99 resamples"),
        (lambda r: compare_to_baseline([r], {"a": [r]}, confidence=1.0), "confidence 1.0"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call(run([0, 1]))


# Figures


def test_the_estimate_and_its_clustered_variance_are_worked_out_by_hand():
    paragraphs = ["p", "p", "q", "r", "s", "t", "u", "v"]
    arm = only(
        compare_to_baseline(
            [run([0] * 8, paragraphs)], {"a": [run([1, 1, 0.5, 0.25, 1, 0.5, 0.25, 0], paragraphs)]}, num_resamples=200
        )
    )
    # Paragraph sums 2, 0.5, 0.25, 1, 0.5, 0.25, 0 of 2 questions and six times 1: 4.5 / 8.
    assert arm.difference == 0.5625
    # Residuals 0.875, -0.0625, -0.3125, 0.4375, -0.0625, -0.3125, -0.5625, over the questions of all other paragraphs:
    # 6, then 7. (0.765625 / 36 + 0.7109375 / 49) * 6/7
    assert arm.question_variance == pytest.approx((0.765625 / 36 + 0.7109375 / 49) * 6 / 7)
    assert arm.standard_error == pytest.approx(math.sqrt(arm.question_variance))
    # (2 + 6)^2 / (4 + 6)
    assert arm.effective_paragraphs == pytest.approx(6.4)
    assert (arm.num_questions, arm.num_paragraphs, arm.covers, arm.seed_variance) == (8, 7, "questions", 0.0)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_without_clusters_the_intervals_are_scipys(method):
    base, arm_scores = noisy(0, 80), noisy(3, 80, gain=0.1)
    ours = only(compare_to_baseline([run(base)], {"a": [run(arm_scores)]}, num_resamples=20_000, rng=1))
    theirs = scipy.stats.bootstrap(
        (arm_scores - base,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(2)
    ).confidence_interval
    mine = ours.percentile if method == "percentile" else ours.bca
    # An end's Monte Carlo error is sqrt(0.025 * 0.975 / 20000) / density(1.96) = 0.02 standard errors for each side.
    assert mine.low == pytest.approx(theirs.low, abs=0.1 * ours.standard_error)
    assert mine.high == pytest.approx(theirs.high, abs=0.1 * ours.standard_error)


def test_bca_moves_a_skewed_interval_as_scipy_does():
    skewed = np.r_[np.zeros(44), np.ones(6)]
    ours = only(compare_to_baseline([run(np.zeros(50))], {"a": [run(skewed)]}, num_resamples=20_000))
    theirs = scipy.stats.bootstrap(
        (skewed,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    # The resampled mean is a multiple of 1/50, so the ends may differ by one step.
    assert ours.bca.low == pytest.approx(theirs.low, abs=0.0201)
    assert ours.bca.high == pytest.approx(theirs.high, abs=0.0201)
    assert ours.bca.high > ours.percentile.high


def test_equal_paragraphs_resample_as_their_means_would():
    # Four questions of a paragraph that differ alike are one draw: the interval is that of 15 questions, not of 60.
    means = np.random.default_rng(0).random(15)
    clustered = only(
        compare_to_baseline(
            [run(np.zeros(60), [f"p{i // 4:02}" for i in range(60)])],
            {"a": [run(np.repeat(means, 4), [f"p{i // 4:02}" for i in range(60)])]},
            num_resamples=500,
        )
    )
    alone = only(
        compare_to_baseline(
            [run(np.zeros(15), [f"p{i:02}" for i in range(15)])],
            {"a": [run(means, [f"p{i:02}" for i in range(15)])]},
            num_resamples=500,
        )
    )
    assert clustered.percentile.low == pytest.approx(alone.percentile.low)
    assert clustered.bca.high == pytest.approx(alone.bca.high)
    assert clustered.simultaneous.high == pytest.approx(alone.simultaneous.high)
    assert clustered.p_value == alone.p_value


def test_one_arm_alone_has_about_the_students_critical_value_of_its_number_of_questions():
    scores = np.random.default_rng(0).normal(0.5, 0.1, 12).clip(0, 1)
    arm = only(compare_to_baseline([run(np.full(12, 0.5))], {"a": [run(scores)]}, num_resamples=20_000))
    # t with 11 degrees of freedom: 2.20, far from the normal's 1.96; the bootstrap has its own error of a few tenths.
    assert arm.critical == pytest.approx(2.2, abs=0.25)
    assert arm.critical > 2.0


def test_more_arms_make_wider_simultaneous_intervals_and_copies_of_one_do_not():
    base, arms = run(noisy(0, 200)), {f"a{k}": [run(noisy(k + 1, 200))] for k in range(8)}
    one = compare_to_baseline([base], {"a0": arms["a0"]}, num_resamples=4000).arms["a0"]
    copies = compare_to_baseline([base], dict.fromkeys(arms, arms["a0"]), num_resamples=4000).arms["a0"]
    eight = compare_to_baseline([base], arms, num_resamples=4000).arms["a0"]
    assert copies.critical == pytest.approx(one.critical, abs=0.08)  # the correlation between arms is kept
    # Eight independent comparisons would need the normal's 1 - 0.05/16 quantile, 2.73; one 1.96. They share a baseline.
    assert one.critical == pytest.approx(1.97, abs=0.1)
    assert one.critical + 0.2 < eight.critical < 2.85
    assert eight.percentile == one.percentile


def test_p_values_and_one_arms_simultaneous_interval_agree():
    for seed in range(1, 12):
        arm = only(compare_to_baseline([run(noisy(0))], {"a": [run(noisy(seed, gain=0.01 * seed))]}, num_resamples=999))
        assert (arm.p_value <= 0.05) == (not arm.simultaneous.low <= 0 <= arm.simultaneous.high)


def test_a_p_value_counts_the_observed_among_the_resamples():
    arm = only(compare_to_baseline([run([0.0] * 40)], {"a": [run(np.linspace(0.8, 1, 40))]}, num_resamples=399))
    assert arm.p_value == 1 / 400


SCORES = st.lists(
    st.tuples(st.sampled_from([0, 0.5, 1]), st.sampled_from([0, 0.5, 1]), st.integers(0, 14)), min_size=1, max_size=40
)


@given(SCORES, st.randoms(use_true_random=False))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_any_scores_give_finite_figures_mirrored_and_independent_of_order(rows, random):
    paragraphs = [f"p{p}" for _, _, p in rows]
    base, other = run([b for b, _, _ in rows], paragraphs), run([a for _, a, _ in rows], paragraphs)
    found = compare_to_baseline([base], {"a": [other]}, num_resamples=200)
    json.dumps(asdict(found), allow_nan=False)
    order = random.sample(range(len(rows)), len(rows))
    shuffled = Run(**{k: tuple(getattr(other, k)[i] for i in order) for k in ("ids", "paragraph_ids", "scores")})
    assert compare_to_baseline([base], {"a": [shuffled]}, num_resamples=200) == found
    arm, mirror = only(found), only(compare_to_baseline([other], {"a": [base]}, num_resamples=200))
    assert mirror.difference == pytest.approx(-arm.difference)
    assert mirror.p_value == arm.p_value
    if arm.simultaneous is not None:
        assert arm.simultaneous.low <= arm.difference <= arm.simultaneous.high
        assert arm.simultaneous.high - arm.simultaneous.low > 0.01
        assert arm.bca.high - arm.bca.low > 0.001
        assert mirror.simultaneous.low == pytest.approx(-arm.simultaneous.high, abs=1e-9)
        assert -1 <= arm.bca.low <= arm.bca.high <= 1


def test_equal_seeds_give_equal_figures_and_a_generator_is_taken_as_it_is():
    runs = [run(noisy(0))], {"a": [run(noisy(1))]}
    assert compare_to_baseline(*runs, num_resamples=300, rng=7) == compare_to_baseline(
        *runs, num_resamples=300, rng=np.random.default_rng(7)
    )
    assert compare_to_baseline(*runs, num_resamples=300, rng=7) != compare_to_baseline(*runs, num_resamples=300, rng=8)


# Several runs


def seeds(level, spread, num=3, size=40):
    """Runs whose means are level - spread, level, level + spread (and so on), and questions hardly vary."""
    slope = level * 1e-6 * (np.arange(size) / (size - 1) - 0.5)
    return [run(level + spread * (s - (num - 1) / 2) + slope) for s in range(num)]


def test_several_runs_say_what_their_intervals_cover():
    base, arms = seeds(0.3, 0.01), {"three": seeds(0.5, 0.01), "one": seeds(0.5, 0, num=1)}
    covers = lambda found: {name: (arm.covers, arm.fewest_runs) for name, arm in found.arms.items()}  # noqa: E731
    borrowed = "questions and seeds (one run of {}: spread over seeds taken from the other groups)"
    assert covers(compare_to_baseline(base, arms, num_resamples=200)) == {
        "three": ("questions and seeds", 3),
        "one": (borrowed.format("one"), 1),
    }
    assert covers(compare_to_baseline(base[:1], arms, num_resamples=200)) == {
        "three": (borrowed.format("the baseline"), 1),
        "one": (borrowed.format("the baseline, one"), 1),
    }
    assert covers(compare_to_baseline(base[:1], {"one": arms["one"]}, num_resamples=200)) == {"one": ("questions", 1)}


def test_the_variance_over_seeds_is_pooled_but_not_below_a_groups_own_by_hand():
    arms = {"a": seeds(0.5, 0.02), "one": seeds(0.4, 0, num=1)}
    found = compare_to_baseline(seeds(0.3, 0.01, num=2), arms, num_resamples=200).arms
    # Means 0.295, 0.305 and 0.48, 0.50, 0.52: squares 0.00005 and 0.0008, over 1 + 2 degrees of freedom.
    pooled = 0.00085 / 3
    # The arm's own variance, 0.0004, is larger and counts for its 3 runs; the baseline's, 0.00005, is smaller, so its 2
    # runs are taken to vary as all do. So is the arm of one run.
    assert found["a"].seed_variance == pytest.approx(0.0004 / 3 + pooled / 2)
    assert found["one"].seed_variance == pytest.approx(pooled + pooled / 2)
    assert found["a"].question_variance == pytest.approx(0, abs=1e-14)
    assert found["a"].difference == pytest.approx(0.2)
    assert (found["a"].num_runs, found["a"].num_baseline_runs) == (3, 2)


def test_where_only_seeds_vary_the_interval_is_students_t_of_the_pooled_degrees_of_freedom():
    arm = only(compare_to_baseline(seeds(0.3, 0.02), {"a": seeds(0.5, 0.02)}, num_resamples=40_000))
    assert arm.standard_error == pytest.approx(math.sqrt(2 * 0.02**2 / 3))
    # The draws are normal; their 95 % quantile of 40,000 is off by 0.02 at most, t's of 2 + 2 degrees by twice that.
    assert arm.critical == pytest.approx(scipy.stats.t.isf(0.025, 4), abs=0.06)
    assert arm.percentile.high == pytest.approx(arm.difference + 1.96 * arm.standard_error, rel=0.02)
    # 0.2 is 12 standard errors, in the tail of t with 4 degrees 0.00013: the draw's own 1 / 40,001 and some five.
    assert arm.p_value == pytest.approx(2 * scipy.stats.t.sf(0.2 / arm.standard_error, 4), abs=3e-4)


def test_arms_share_the_luck_of_the_baseline():
    # The luck of one group's mean has the same variance everywhere: differences to one baseline correlate by 1/2.
    base, arms = seeds(0.3, 0.02), {f"a{k}": seeds(0.5, 0.02) for k in range(2)}
    # Infinite degrees of freedom would need 2.21 for two estimates that correlate by 1/2, 2.24 if they did not.
    both = compare_to_baseline(base, arms, num_resamples=40_000).arms["a0"]
    normal = scipy.stats.norm.isf(scipy.stats.t.sf(both.critical, 6))
    assert normal == pytest.approx(2.212, abs=0.02)


def test_questions_and_seeds_together_vary_more_than_questions_alone():
    base = [run(noisy(s, 100)) for s in range(3)]
    arm = [run(noisy(s + 3, 100, gain=0.03 * s)) for s in range(3)]
    mean_scores = [run(np.mean([one.scores for one in runs], axis=0)) for runs in (base, arm)]
    found = only(compare_to_baseline(base, {"a": arm}, num_resamples=2000))
    of_means = only(compare_to_baseline([mean_scores[0]], {"a": [mean_scores[1]]}, num_resamples=2000))
    assert found.difference == pytest.approx(of_means.difference)
    assert found.percentile.high - found.percentile.low > of_means.percentile.high - of_means.percentile.low
    assert found.question_variance == pytest.approx(of_means.question_variance)
    assert found.seed_variance > 0 == of_means.seed_variance
