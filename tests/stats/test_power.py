import math
from dataclasses import replace

import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from arm_comparisons import arm_comparison
from thinwire.errors import UsageError
from thinwire.stats.power import questions_needed


@pytest.fixture(scope="module")
def arm():
    """A difference of 6 points, standard error 1 point at 1,000 questions, critical value 3."""
    return arm_comparison(0.06, standard_error=0.01, critical=3.0)


def number(arm, threshold, **kwargs):
    return questions_needed(arm, threshold, **kwargs).number


def test_the_number_of_questions_is_worked_out_by_hand(arm):
    # 0.06 - 3 e = 0.02 at e = 0.04 / 3; 1000 * 1e-4 / (0.04 / 3)^2 = 562.5
    assert number(arm, 0.02, power=0.5) == 563
    # With power 0.8 the normal's 0.8416 comes on top: 0.1 * (3.8416 / 0.04)^2 = 922.4
    assert number(arm, 0.02) == 923
    # Seeds cost 5e-5 of (0.04 / 3)^2 = 1.7778e-4: 0.1 / 1.2778e-4 = 782.6
    assert number(replace(arm, seed_variance=5e-5), 0.02, power=0.5) == 783
    # From below: 0.1 * (3 / 0.04)^2
    assert number(arm, 0.10, side="upper", power=0.5) == 563


def test_no_number_of_questions_reaches_what_is_not_there(arm):
    obstacle = lambda *args, **kwargs: questions_needed(*args, **kwargs).obstacle  # noqa: E731
    assert obstacle(arm, 0.06) == "wrong side"
    assert obstacle(arm, 0.07) == "wrong side"
    assert obstacle(arm, 0.02, side="upper") == "wrong side"
    assert obstacle(replace(arm, seed_variance=2e-4), 0.02, power=0.5) == "seeds"  # 3 * 0.0141 > 0.04 already
    assert obstacle(replace(arm, outcome="no difference"), 0.02) == "no interval"
    assert obstacle(replace(arm, outcome="too few"), 0.02) == "too few"
    assert obstacle(arm, 0.02) is None
    with pytest.raises(UsageError, match=r"power of 0\.4"):
        questions_needed(arm, 0.02, power=0.4)


def test_no_more_questions_are_asked_for_than_there_are(arm):
    assert number(arm, 0.02, power=0.5, available=563) == 563
    found = questions_needed(arm, 0.02, power=0.5, available=562)
    assert (found.number, found.obstacle) == (None, "available")
    assert found.reason == "more questions than there are: more seeds, or a larger effect, are needed"
    assert questions_needed(arm, 0.02, available=5000).reason is None


def test_more_questions_do_not_make_up_for_few_seeds(arm):
    # 4 degrees over seeds, whose variance is a tenth of that over questions; 200 paragraphs.
    seeds = replace(arm, seed_variance=1e-5, seed_degrees=4, effective_paragraphs=200.0)
    needed = number(seeds, 0.02, power=0.5)

    def reach(normal, num):
        of_paragraphs, of_seeds = (scipy.stats.t.isf(scipy.stats.norm.sf(normal), df) for df in (num / 5 - 1, 4))
        return math.sqrt(of_paragraphs**2 * 0.1 / num + of_seeds**2 * 1e-5)

    normal = scipy.optimize.brentq(lambda normal: reach(normal, 1000) - 3 * math.sqrt(1.1e-4), 1, 4)
    assert reach(normal, needed) <= 0.04 < reach(normal, needed - 1)
    # As much variance from seeds as from questions: 3.0 of the standard error of 0.01 are in reach, 4 are not.
    assert number(replace(arm, seed_variance=1e-4), 0.02, power=0.5) is not None
    found = questions_needed(replace(seeds, seed_variance=1e-4, critical=4.0), 0.02, power=0.5)
    assert (found.number, found.obstacle) == (None, "seeds")


@given(st.floats(0.001, 0.5), st.floats(0.001, 0.3), st.floats(1.9, 4))
@settings(derandomize=True, deadline=None)
def test_at_the_number_of_questions_the_lower_end_reaches_the_threshold_and_one_fewer_does_not(
    arm, gap, error, critical
):
    found = replace(arm, difference=0.02 + gap, question_variance=error**2, critical=critical, num_questions=100)
    needed = number(found, 0.02, power=0.5)
    low = lambda n: found.difference - critical * error * math.sqrt(100 / n)  # noqa: E731
    assert low(needed) >= 0.02 - 1e-8
    assert needed == 1 or low(needed - 1) < 0.02 + 1e-8
