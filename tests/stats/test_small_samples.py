import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.stats.small_samples import Ties, count_ties, effective_paragraphs, refusal
from thinwire.stats.words import Words


def ties(differences, sizes=None, reach=1.0):
    sums = np.array(differences, float)
    return count_ties(sums, np.ones(len(sums)) if sizes is None else np.array(sizes, float), reach)


def test_unequal_paragraphs_count_as_fewer():
    assert effective_paragraphs(np.full(7, 3.0)) == pytest.approx(7)
    # (4 + 1 + 1)^2 / (16 + 1 + 1)
    assert effective_paragraphs(np.array([4.0, 1.0, 1.0])) == 2


def test_six_equal_paragraphs_suffice_and_five_do_not():
    assert refusal(np.full(6, 5.0)) is None
    assert refusal(np.full(5, 5.0)) == "25 questions about 5 paragraphs: an interval needs at least 6 paragraphs"
    unequal = np.array([20.0, *[1.0] * 6])
    assert refusal(unequal) == (
        "26 questions about 7 paragraphs, so unequal that they count as 1.7: an interval needs 4"
    )


def test_the_common_value_is_what_most_paragraphs_show_per_question():
    found = ties([0.5, 1.0, 0.25, 0.0, -1.0], sizes=[1, 2, 0.5, 1, 1])
    assert (found.common, found.above, found.below, found.differing) == (0.5, 0, 2, 2)
    # Half is no majority.
    half = ties([0.5, 0.5, 1.0, 0.0])
    assert (half.common, half.above, half.below) == (0.0, 3, 0)


def test_without_a_differing_paragraph_the_bound_is_the_rule_of_three():
    low, high = ties([0.0] * 100).bound(0.05)
    assert (low, high) == (pytest.approx(-0.0295, abs=1e-4), pytest.approx(0.0295, abs=1e-4))
    # An interaction can move by 2 in a paragraph.
    assert ties([0.0] * 100, reach=2.0).bound(0.05)[1] == pytest.approx(2 * high)
    # All that differ may be the largest paragraph: ten questions where the mean is (10 + 9 * 1) / 10.
    unequal = ties([0.0] * 10, sizes=[10, *[1] * 9])
    assert unequal.largest == pytest.approx(10 / 1.9)
    assert unequal.bound(0.05) == (-1.0, 1.0)


def test_each_end_of_a_bound_is_that_of_its_own_paragraphs():
    low, high = ties([1.0, 0.5, -1.0, *[0.0] * 37]).bound(0.1)
    assert high == pytest.approx(scipy.stats.binomtest(2, 40).proportion_ci(0.9).high)
    assert low == pytest.approx(-scipy.stats.binomtest(1, 40).proportion_ci(0.9).high)


@given(st.integers(6, 60), st.integers(0, 5), st.integers(0, 5), st.floats(-1, 1), st.floats(0.001, 0.2))
@settings(derandomize=True, deadline=None)
def test_a_bound_has_a_width_holds_the_common_value_and_stays_within_reach(num, above, below, common, alpha):
    found = Ties(common=common, above=above, below=below, num_paragraphs=num, largest=1.0, reach=1.0)
    low, high = found.bound(alpha)
    assert -1 - 1e-12 <= low <= common <= high <= 1 + 1e-12
    assert high - low > 1e-3
    wider = found.bound(alpha / 2)
    assert wider[0] <= low
    assert wider[1] >= high


def test_a_refusal_names_other_units_by_their_words():
    items = Words(item="item", cluster="cluster", within="in")
    assert refusal(np.full(5, 5.0), items) == "25 items in 5 clusters: an interval needs at least 6 clusters"
    alone = Words(item="item", cluster="item")
    assert refusal(np.ones(1), alone) == "1 item: an interval needs at least 6 items"
