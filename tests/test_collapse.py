import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.collapse import collapse_figures


def test_a_model_that_always_says_the_same_is_betrayed():
    assert collapse_figures(["the the the"] * 4) == {
        "distinct_share": 0.25,
        "top_first_word": "the",
        "top_first_word_share": 1.0,
        "first_word_entropy": 0.0,
        "empty_share": 0.0,
    }


def test_no_entropy_is_plain_zero_and_not_minus_zero():
    assert str(collapse_figures(["the", "the"])["first_word_entropy"]) == "0.0"


def test_different_answers_have_the_entropy_of_their_number():
    figures = collapse_figures(["1843", "Ada", "London", "four mills"])
    assert figures["distinct_share"] == 1.0
    assert figures["first_word_entropy"] == pytest.approx(2.0)  # log2 of 4 equally frequent words
    assert figures["top_first_word_share"] == 0.25


def test_figures_of_mixed_answers_are_worked_out_by_hand():
    figures = collapse_figures(["The cat", "the dog", "  THE CAT ", "owl", ""])
    assert figures["distinct_share"] == 4 / 5  # the cat, the dog, owl, and the empty one
    assert figures["top_first_word"] == "the"
    assert figures["top_first_word_share"] == 3 / 5
    # Of the four that speak: 3/4 log2(4/3) + 1/4 log2(4) = 0.811278...
    assert figures["first_word_entropy"] == pytest.approx(0.75 * math.log2(4 / 3) + 0.5)
    assert figures["empty_share"] == 1 / 5


def test_silence_has_no_first_word():
    figures = collapse_figures(["", "  \n"])
    assert figures["top_first_word"] is None
    assert (figures["top_first_word_share"], figures["first_word_entropy"], figures["empty_share"]) == (0.0, 0.0, 1.0)


def test_no_answers_cannot_be_diagnosed():
    with pytest.raises(ValueError, match="no answers"):
        collapse_figures([])


@given(st.lists(st.text(max_size=5), min_size=1, max_size=8))
@settings(derandomize=True, deadline=None)
def test_figures_stay_in_their_bounds_whatever_the_order(answers):
    figures = collapse_figures(answers)
    assert 1 / len(answers) <= figures["distinct_share"] <= 1
    assert 0 <= figures["first_word_entropy"] <= math.log2(len(answers)) + 1e-9
    assert figures["top_first_word_share"] + figures["empty_share"] <= 1
    assert (figures["top_first_word"] is None) is (figures["empty_share"] == 1)
    backwards = collapse_figures(answers[::-1])
    assert backwards["first_word_entropy"] == pytest.approx(figures["first_word_entropy"])
    assert backwards["distinct_share"] == figures["distinct_share"]
