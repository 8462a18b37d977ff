import math

import numpy as np
import pytest

from thinwire.errors import UsageError
from thinwire.stats.bootstrap import compare_to_baseline
from thinwire.stats.contrasts import compare_contrasts
from thinwire.stats.pairing import Run

INTERACTION = {"arm": 1, "baseline": -1, "reference_arm": -1, "reference_baseline": 1}


def run(scores, paragraphs=None):
    """A run; each question is its own paragraph unless told otherwise."""
    ids = tuple(f"q{i}" for i in range(len(scores)))
    return Run(ids=ids, paragraph_ids=tuple(paragraphs or ids), scores=tuple(map(float, scores)))


def four(num_runs=1, num=40):
    """Four groups of random runs; the arm is better."""
    rng = np.random.default_rng(3)
    level = {"arm": 0.4, "baseline": 0.1, "reference_arm": 0.2, "reference_baseline": 0.1}
    return {name: [run(low + rng.random(num) / 2) for _ in range(num_runs)] for name, low in level.items()}


def test_a_difference_of_differences_is_worked_out_by_hand():
    groups = {
        "arm": [run([1, 1, 0, 1] * 2)],
        "baseline": [run([0, 0, 0, 1] * 2)],
        "reference_arm": [run([1, 0, 1, 1] * 2)],
        "reference_baseline": [run([1, 0, 0, 1] * 2)],
    }
    found = compare_contrasts(groups, {"i": INTERACTION}, num_resamples=200).contrasts["i"]
    # By question: 1 - 0 - 1 + 1 = 1, 1 - 0 - 0 + 0 = 1, 0 - 0 - 1 + 0 = -1, 1 - 1 - 1 + 1 = 0, twice: a mean of 1/4.
    assert found.estimate == pytest.approx(0.25)
    # Residuals 3/4, 3/4, -5/4, -1/4 square to 9 + 9 + 25 + 1 = 44 sixteenths, twice: 5.5 / 8^2 * 8/7.
    assert found.question_variance == pytest.approx(5.5 / 64 * 8 / 7)
    assert found.means == {"arm": 0.75, "baseline": 0.25, "reference_arm": 0.75, "reference_baseline": 0.5}
    assert found.weights == INTERACTION
    assert (found.num_questions, found.num_paragraphs, found.fewest_runs) == (8, 8, 1)


def test_a_gain_is_the_contrast_that_compares_with_the_baseline():
    groups = four(num_runs=3)
    gains = {name: {name: 1, "baseline": -1} for name in groups if name != "baseline"}
    found = compare_contrasts(groups, gains, num_resamples=500)
    arms = {name: runs for name, runs in groups.items() if name != "baseline"}
    same = compare_to_baseline(groups["baseline"], arms, num_resamples=500)
    for name, arm in same.arms.items():
        contrast = found.contrasts[name]
        assert contrast.estimate == pytest.approx(arm.difference)
        assert contrast.standard_error == pytest.approx(arm.standard_error)
    assert list(found.contrasts) == list(same.arms)


def spread(which, *shifts):
    """Runs of a group that are the same but for a shift of every score."""
    scores = np.random.default_rng(which).random(40) / 4
    return [run(scores + shift) for shift in shifts]


WIDE = (0.1, 0.3, 0.5)
"""Shifts whose variance is 0.04."""


def test_a_contrast_of_several_runs_has_the_variance_of_all_its_members():
    groups = {name: spread(k, *WIDE) for k, name in enumerate(INTERACTION)}
    found = compare_contrasts(groups, {"i": INTERACTION}, num_resamples=500).contrasts["i"]
    gain = compare_contrasts(groups, {"g": {"arm": 1, "baseline": -1}}, num_resamples=500).contrasts["g"]
    # Each group's own variance is the pooled one, that of a mean of three a third of it; four such means, or two.
    assert found.seed_variance == pytest.approx(4 * 0.04 / 3)
    assert gain.seed_variance == pytest.approx(2 * 0.04 / 3)
    assert found.covers == gain.covers == "questions and seeds"
    assert found.fewest_runs == 3


def test_untrained_groups_add_no_spread_over_seeds():
    groups = {name: spread(k, *WIDE) for k, name in enumerate(INTERACTION)}
    groups["reference_baseline"] = groups["reference_baseline"][:1]
    of = lambda **kwargs: compare_contrasts(groups, {"i": INTERACTION}, num_resamples=200, **kwargs).contrasts["i"]  # noqa: E731
    trained, fixed = of(), of(untrained=("reference_baseline",))
    # Means of 3, 3, 3 and 1 runs; without the one.
    assert trained.seed_variance == pytest.approx(2 * fixed.seed_variance)
    assert fixed.covers == "questions and seeds"
    assert (trained.fewest_runs, fixed.fewest_runs) == (1, 3)
    assert "one run of reference_baseline" in trained.covers


def test_a_group_that_varies_more_than_the_others_keeps_its_own_variance():
    steady = {f"a{k}": spread(k, 0.29, 0.3, 0.31) for k in range(8)}
    wild = compare_contrasts(
        {"baseline": spread(8, *WIDE), **steady},
        {**{name: {name: 1, "baseline": -1} for name in steady}, "steady": {"a0": 1, "a1": -1}},
        num_resamples=200,
    ).contrasts
    # Pooled over 9 groups: (0.04 + 8 * 0.0001) / 9; the baseline's own 0.04 is larger.
    pooled = (0.04 + 8 * 0.0001) / 9
    assert wild["a0"].seed_variance == pytest.approx((0.04 + pooled) / 3)
    assert wild["steady"].seed_variance == pytest.approx(2 * pooled / 3)
    assert wild["a0"].seed_degrees == 18


def test_contrasts_that_say_the_same_share_one_critical_value():
    groups = four()
    one = compare_contrasts(groups, {"i": INTERACTION}, num_resamples=1000).contrasts["i"]
    twice = {name: 2 * weight for name, weight in INTERACTION.items()}
    both = compare_contrasts(groups, {"i": INTERACTION, "twice": twice}, num_resamples=1000).contrasts
    assert both["i"].critical == pytest.approx(one.critical, abs=0.1)
    assert both["twice"].estimate == pytest.approx(2 * one.estimate)
    assert both["twice"].simultaneous.high == pytest.approx(2 * both["i"].simultaneous.high)
    assert math.isclose(both["twice"].p_value, one.p_value)


@pytest.mark.parametrize(
    ("contrasts", "message"),
    [
        ({}, "at least one contrast"),
        ({"i": {"arm": 1}}, "weights of contrast 'i' sum to 1; give"),
        ({"i": {"arm": 0, "baseline": 0}}, "sum to 0; give weights, not all 0"),
        ({"i": {"arm": 1, "bass": -1}}, "contrast 'i' names 'bass'; choose among arm, baseline"),
        ({"i": {"arm": math.nan, "baseline": -1}}, "sum to nan"),
    ],
)
def test_contrasts_that_are_none_are_refused(contrasts, message):
    with pytest.raises(UsageError, match=message):
        compare_contrasts(four(), contrasts)


def test_untrained_groups_must_exist():
    with pytest.raises(UsageError, match="no group 'text' to be untrained"):
        compare_contrasts(four(), {"i": INTERACTION}, untrained=("text",))


def test_no_arm_takes_the_name_of_the_baseline():
    with pytest.raises(UsageError, match="no arm can be called 'the baseline'"):
        compare_to_baseline([run([0, 1])], {"the baseline": [run([0, 1])]})
