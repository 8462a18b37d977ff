import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.stats.critical import as_normal, holm, normal_reaching, reach, student


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


@given(st.floats(0.1, 5), st.floats(1, 200))
@settings(derandomize=True, deadline=None)
def test_students_value_has_the_tail_of_the_normal_one_and_back(normal, df):
    value = student(normal, df)
    assert scipy.stats.t.sf(value, df) == pytest.approx(scipy.stats.norm.sf(normal), rel=1e-6)
    assert as_normal(value, df) == pytest.approx(normal)
    assert student(normal, float("inf")) == normal


def test_each_part_of_a_variance_has_its_own_students_t():
    # 1.96 standard errors are 12.706 with one degree of freedom and 2.776 with four.
    normal = scipy.stats.norm.isf(0.025)
    assert reach(normal, (0.01, 1.0), (0.04, 4.0)) == pytest.approx(
        (12.706**2 * 0.01 + 2.776**2 * 0.04) ** 0.5, rel=1e-3
    )
    assert reach(normal, (0.01, 1.0), (0.0, 0.0)) == pytest.approx(1.2706, rel=1e-3)


@given(st.floats(0.1, 5), st.floats(1e-6, 1), st.floats(1, 50), st.floats(1e-6, 1), st.floats(1, 50))
@settings(derandomize=True, deadline=None)
def test_a_distance_is_reached_by_its_number_of_standard_errors(normal, first, df, second, other_df):
    parts = (first, df), (second, other_df)
    assert normal_reaching(reach(normal, *parts), *parts) == pytest.approx(normal, rel=1e-6)
