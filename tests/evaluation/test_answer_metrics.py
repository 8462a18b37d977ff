import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answer_rows import row
from thinwire.evaluation.answer_metrics import answer_metrics, copies, degeneration_metrics, holds_gold, repeats


def test_equal_answers_have_no_diversity():
    assert degeneration_metrics(["the the the"] * 4).model_dump() == {
        "distinct_share": 0.25,
        "top_first_word": "the",
        "top_first_word_share": 1.0,
        "first_word_entropy": 0.0,
        "empty_share": 0.0,
    }


def test_no_entropy_is_plain_zero_and_not_minus_zero():
    assert str(degeneration_metrics(["the", "the"]).first_word_entropy) == "0.0"


def test_distinct_answers_have_the_entropy_of_their_number():
    metrics = degeneration_metrics(["1843", "Ada", "London", "four mills"])
    assert metrics.distinct_share == 1.0
    assert metrics.first_word_entropy == pytest.approx(2.0)  # log2 of 4 equally frequent words
    assert metrics.top_first_word_share == 0.25


def test_metrics_of_mixed_answers_by_hand():
    metrics = degeneration_metrics(["The cat", "the dog", "  THE CAT ", "owl", ""])
    assert metrics.distinct_share == 4 / 5  # the cat, the dog, owl, and the empty one
    assert metrics.top_first_word == "the"
    assert metrics.top_first_word_share == 3 / 5
    # Of the four that are not empty: 3/4 log2(4/3) + 1/4 log2(4) = 0.811278...
    assert metrics.first_word_entropy == pytest.approx(0.75 * math.log2(4 / 3) + 0.5)
    assert metrics.empty_share == 1 / 5


def test_empty_answers_have_no_first_word():
    metrics = degeneration_metrics(["", "  \n"])
    assert metrics.top_first_word is None
    assert (metrics.top_first_word_share, metrics.first_word_entropy, metrics.empty_share) == (0.0, 0.0, 1.0)


def test_no_answers_cannot_be_diagnosed():
    with pytest.raises(ValueError, match="no answers"):
        degeneration_metrics([])


@given(st.lists(st.text(max_size=5), min_size=1, max_size=8))
@settings(derandomize=True, deadline=None)
def test_metrics_stay_in_their_bounds_whatever_the_order(answers):
    metrics = degeneration_metrics(answers)
    assert 1 / len(answers) <= metrics.distinct_share <= 1
    assert 0 <= metrics.first_word_entropy <= math.log2(len(answers)) + 1e-9
    assert metrics.top_first_word_share + metrics.empty_share <= 1
    assert (metrics.top_first_word is None) is (metrics.empty_share == 1)
    backwards = degeneration_metrics(answers[::-1])
    assert backwards.first_word_entropy == pytest.approx(metrics.first_word_entropy)
    assert backwards.distinct_share == metrics.distinct_share


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        ("the the the", True),  # articles count here, unlike in scoring
        ("the the", False),
        ("The, the. THE", True),
        ("New York, New York", False),
        ("so were the Marl were the Marl were the Marl", True),
        ("were the Marl were the Marl were the", False),  # eight words: two and two thirds
        ("a b a b a b", True),
        ("a b a c a b a c", False),
        ("", False),
    ],
)
def test_a_phrase_repeats_from_three_times_in_succession(text, repeated):
    assert repeats(text) is repeated


@given(st.lists(st.sampled_from("abc"), max_size=5), st.lists(st.sampled_from("xyz"), min_size=1, max_size=8))
@settings(derandomize=True, deadline=None)
def test_any_phrase_of_up_to_eight_words_is_found_wherever_it_stands(before, phrase):
    assert repeats(" ".join([*before, *phrase * 3]))


@given(st.lists(st.sampled_from("abcd"), max_size=14))
@settings(derandomize=True, deadline=None)
def test_repetition_agrees_with_comparing_all_three_neighbours(words):
    slow = any(
        words[i : i + n] == words[i + n : i + 2 * n] == words[i + 2 * n : i + 3 * n] != []
        for n in range(1, 9)
        for i in range(len(words) - 3 * n + 1)
    )
    assert repeats(" ".join(words)) is slow


@pytest.mark.parametrize(
    ("answer", "golds", "held"),
    [
        ("It took place in Boston, of course.", ["Boston"], True),
        ("It took place in bostonia", ["Boston"], False),  # whole words only
        ("Boston", ["Boston"], False),  # exact
        ("in the city of Paris", ["Rome", "The city of Paris."], True),  # any gold, normalised
        ("anything", ["the"], False),  # nothing is left of the gold
    ],
)
def test_an_answer_holds_a_gold_as_whole_words_and_is_not_it(answer, golds, held):
    assert holds_gold(row("1", answer, golds)) is held


@pytest.mark.parametrize(
    ("answer", "copied"),
    [
        ("the meeting take place", True),
        ("meeting take place", False),  # three words
        ("meeting the take place", False),  # another order
        ("Where did the meeting take place? In Boston", True),
        ("", False),
    ],
)
def test_a_copied_question_is_four_words_of_it_in_a_row_or_all_of_it(answer, copied):
    assert copies(answer, "Where did the meeting take place?") is copied


def test_answers_that_hold_the_gold_answer_are_found():
    found = answer_metrics([row("1", "Boston it was", stop_reason="length"), row("2", "Boston")])
    assert (found.run_on_share, found.present_not_exact_share, found.exact_share) == (0.5, 0.5, 0.5)
    assert found.found_share == 1.0
