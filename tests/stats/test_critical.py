import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.stats.critical import as_normal, holm, student


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
