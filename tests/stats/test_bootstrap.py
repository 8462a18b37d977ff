import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.errors import UsageError
from thinwire.stats.bootstrap import compare_to_baseline
from thinwire.stats.critical import holm
from thinwire.stats.pairing import Run, panel, paragraph_weights
from thinwire.stats.power import questions_needed


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


# Pairing


def test_scores_are_paired_by_id_and_summed_by_paragraph():
    first = Run(ids=("a", "b", "c"), paragraph_ids=("p", "q", "p"), scores=(1.0, 0.5, 0.25))
    second = Run(ids=("c", "b", "a"), paragraph_ids=("p", "q", "p"), scores=(0.0, 1.0, 0.5))
    data = panel([first, second])
    assert data.sums.tolist() == [[1.25, 0.5], [0.5, 1.0]]
    assert data.sizes.tolist() == [2, 1]


def test_missing_questions_are_refused_by_number():
    with pytest.raises(UsageError, match="2 of 4 questions are missing"):
        compare_to_baseline([run([1, 0, 1, 1])], {"a": [run([0, 0])]})


def test_runs_without_a_common_question_are_refused():
    with pytest.raises(UsageError, match="no question in common"):
        panel([run([1, 0]), run([1, 0], prefix="r")])


def test_a_question_in_two_paragraphs_is_refused():
    with pytest.raises(UsageError, match="question q1 is in paragraph p and in q"):
        panel([run([0, 0], ["p", "p"]), run([0, 0], ["p", "q"])])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
def test_scores_that_are_no_fraction_are_refused(bad):
    with pytest.raises(UsageError, match=r"1 scores are no number from 0 to 1 \(first: question q1\)"):
        run([0, bad])


def test_repeated_ids_and_unequal_lengths_are_refused():
    with pytest.raises(UsageError, match="2 question ids come more than once"):
        Run(ids=("a", "a", "a"), paragraph_ids=("p",) * 3, scores=(0.0,) * 3)
    with pytest.raises(UsageError, match="1 ids, 2 paragraph ids and 1 scores"):
        Run(ids=("a",), paragraph_ids=("p", "q"), scores=(0.0,))


def test_rows_of_a_predictions_file_become_a_run_and_null_is_no_zero():
    rows = [{"id": "a", "paragraph_id": "p", "f1": 0.5, "exact_match": 1}]
    assert Run.of_rows(rows).scores == (0.5,)
    assert Run.of_rows(rows, "exact_match").scores == (1.0,)
    with pytest.raises(UsageError, match="no number"):
        Run.of_rows([{**rows[0], "f1": None}])


# Outcomes that have no ordinary interval


def test_equal_scores_are_no_difference():
    arm = only(compare_to_baseline([run([0, 1, 0.5])], {"a": [run([0, 1, 0.5])]}, num_resamples=200))
    assert arm.outcome == "no difference"
    assert arm.reason == "no difference in every paragraph"
    assert (arm.difference, arm.p_value, arm.adjusted_p_value) == (0.0, 1.0, 1.0)
    for interval in (arm.percentile, arm.bca, arm.simultaneous):
        assert (interval.low, interval.high) == (0.0, 0.0)


def test_one_difference_everywhere_is_as_surprising_as_the_number_of_paragraphs_allows():
    # All four signs alike: 2 of 2^4 ways.
    arm = only(compare_to_baseline([run([0.1, 0.2, 0.3, 0.7])], {"a": [run([0.2, 0.3, 0.4, 0.8])]}, num_resamples=200))
    assert arm.outcome == "same difference"
    assert arm.difference == pytest.approx(0.1)
    assert arm.bca.low == arm.simultaneous.high == arm.difference
    assert arm.p_value == 2 / 16
    many = only(compare_to_baseline([run([0.1] * 50)], {"a": [run([0.2] * 50)]}, num_resamples=199))
    assert many.p_value == 1 / 200  # no smaller than the resamples allow


@pytest.mark.parametrize(("num", "said"), [(1, "1 question about"), (3, "3 questions about")])
def test_one_paragraph_is_too_few(num, said):
    arm = only(compare_to_baseline([run([0] * num, ["p"] * num)], {"a": [run([1] * num, ["p"] * num)]}))
    assert arm.outcome == "too few"
    assert said in arm.reason
    assert arm.difference == 1.0
    assert {arm.percentile, arm.bca, arm.simultaneous, arm.p_value, arm.adjusted_p_value, arm.critical} == {None}
    assert questions_needed(arm, 0.02) is None


def test_an_arm_equal_to_the_baseline_widens_no_other_interval():
    base, other = run(noisy(0)), run(noisy(1))
    alone = compare_to_baseline([base], {"a": [other]}, num_resamples=500)
    beside = compare_to_baseline([base], {"a": [other], "same": [base]}, num_resamples=500)
    assert beside.arms["a"].simultaneous == alone.arms["a"].simultaneous


def test_an_arm_that_differs_in_one_paragraph_leaves_the_others_finite_intervals():
    scores = noisy(0)
    nearly = scores.copy()
    nearly[0] = 1 - nearly[0]
    found = compare_to_baseline([run(scores)], {"a": [run(noisy(1))], "nearly": [run(nearly)]}, num_resamples=500)
    # A resample without that paragraph is 1 standard error off, and its own is counted as half the sample's: 2.
    assert 1.9 < found.arms["a"].critical < 4
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
    paragraphs = ["p", "p", "q", "r"]
    arm = only(
        compare_to_baseline([run([0] * 4, paragraphs)], {"a": [run([1, 1, 0.5, 0], paragraphs)]}, num_resamples=200)
    )
    # Paragraph sums 2, 0.5, 0 of 2, 1, 1 questions: 2.5 / 4. Residuals 2 - 1.25, 0.5 - 0.625, -0.625.
    assert arm.difference == 0.625
    # (0.5625 + 0.015625 + 0.390625) / 4^2 * 3/2
    assert arm.question_variance == pytest.approx(0.96875 / 16 * 1.5)
    assert arm.standard_error == pytest.approx(math.sqrt(arm.question_variance))
    assert (arm.num_questions, arm.num_paragraphs, arm.covers, arm.seed_variance) == (4, 3, "questions", 0.0)


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
    skewed = np.r_[np.zeros(45), np.ones(5)]
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
    assert copies.critical == pytest.approx(one.critical)  # the correlation between arms is kept
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


def test_holm_is_worked_out_by_hand():
    # Sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2 (raised to 0.06, the one before), 0.5 * 1
    assert holm([0.03, 0.5, 0.01, 0.02]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(derandomize=True, deadline=None)
def test_holm_lies_between_no_adjustment_and_bonferroni_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, len(p_values) * p) + 1e-12
    assert [q for _, q in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)


def test_weights_draw_as_many_paragraphs_as_there_are_in_each_of_all_resamples():
    weights = np.concatenate(list(paragraph_weights(300_000, 10, np.random.default_rng(0))))  # two chunks
    assert weights.shape == (10, 300_000)
    assert (weights.sum(1) == 300_000).all()
    assert (weights == 0).mean() == pytest.approx(math.exp(-1), abs=0.002)


SCORES = st.lists(
    st.tuples(st.sampled_from([0, 0.5, 1]), st.sampled_from([0, 0.5, 1]), st.integers(0, 4)), min_size=1, max_size=12
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
    """Runs whose means are exactly level - spread, level, level + spread (and so on)."""
    return [run([level + spread * (s - (num - 1) / 2)] * size) for s in range(num)]


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


def test_the_variance_over_seeds_is_pooled_by_hand():
    arms = {"a": seeds(0.5, 0.02), "one": seeds(0.4, 0, num=1)}
    found = compare_to_baseline(seeds(0.3, 0.01, num=2), arms, num_resamples=200).arms
    # Means 0.295, 0.305 and 0.48, 0.50, 0.52: squares 0.00005 and 0.0008, over 1 + 2 degrees of freedom.
    run_variance = 0.00085 / 3
    # The arm's mean is of 3 runs and the baseline's of 2; the arm of one run is taken to vary as the others do.
    assert found["a"].seed_variance == pytest.approx(run_variance * (1 / 3 + 1 / 2))
    assert found["one"].seed_variance == pytest.approx(run_variance * (1 + 1 / 2))
    assert found["a"].question_variance == pytest.approx(0, abs=1e-20)
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


# Power


@pytest.fixture
def arm():
    """A difference of 6 points, standard error 1 point at 1,000 questions, critical value 3."""
    found = only(compare_to_baseline([run([0, 1, 0])], {"a": [run([1, 1, 0])]}, num_resamples=200))
    return replace(found, difference=0.06, question_variance=1e-4, seed_variance=0.0, critical=3.0, num_questions=1000)


def test_the_number_of_questions_is_worked_out_by_hand(arm):
    # 0.06 - 3 e = 0.02 at e = 0.04 / 3; 1000 * 1e-4 / (0.04 / 3)^2 = 562.5
    assert questions_needed(arm, 0.02, power=0.5) == 563
    # With power 0.8 the normal's 0.8416 comes on top: 0.1 * (3.8416 / 0.04)^2 = 922.4
    assert questions_needed(arm, 0.02) == 923
    # Seeds cost 5e-5 of (0.04 / 3)^2 = 1.7778e-4: 0.1 / 1.2778e-4 = 782.6
    assert questions_needed(replace(arm, seed_variance=5e-5), 0.02, power=0.5) == 783
    # From below: 0.1 * (3 / 0.04)^2
    assert questions_needed(arm, 0.10, side="upper", power=0.5) == 563


def test_no_number_of_questions_reaches_what_is_not_there(arm):
    assert questions_needed(arm, 0.06) is None
    assert questions_needed(arm, 0.07) is None
    assert questions_needed(arm, 0.02, side="upper") is None
    assert questions_needed(replace(arm, seed_variance=2e-4), 0.02, power=0.5) is None  # 3 * 0.0141 > 0.04 already
    with pytest.raises(UsageError, match=r"power of 0\.4"):
        questions_needed(arm, 0.02, power=0.4)


@given(st.floats(0.001, 0.5), st.floats(0.001, 0.3), st.floats(1.9, 4))
@settings(derandomize=True, deadline=None)
def test_at_the_number_of_questions_the_lower_end_reaches_the_threshold_and_one_fewer_does_not(gap, error, critical):
    found = replace(
        only(compare_to_baseline([run([0, 1, 0])], {"a": [run([1, 1, 0])]}, num_resamples=100)),
        difference=0.02 + gap,
        question_variance=error**2,
        seed_variance=0.0,
        critical=critical,
        num_questions=100,
    )
    needed = questions_needed(found, 0.02, power=0.5)
    low = lambda n: found.difference - critical * error * math.sqrt(100 / n)  # noqa: E731
    assert low(needed) >= 0.02 - 1e-9
    assert needed == 1 or low(needed - 1) < 0.02 + 1e-9
