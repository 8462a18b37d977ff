import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.evaluation.extractors import (
    EXTRACTORS,
    first_clause,
    first_line,
    first_words,
    score_extractors,
    strip_leading_punctuation,
)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ("1843", "1843"),
        ("  1843 \n\nQuestion: what next?", "1843"),
        ("\n \t\r\n1843\r\nmore", "1843"),
        ("two words\n", "two words"),
        ("", ""),
        (" \n \n", ""),
    ],
)
def test_an_answer_is_its_first_line_that_is_not_blank(raw, line):
    assert first_line(raw) == line


@given(st.text())
@settings(derandomize=True, deadline=None)
def test_a_first_line_is_one_stripped_line_of_the_text_and_its_own_first_line(raw):
    line = first_line(raw)
    assert line in raw
    assert line.splitlines() == ([line] if line else [])
    assert first_line(line) == line == line.strip()
    assert bool(line) is bool(raw.strip())


@pytest.mark.parametrize(
    ("raw", "rest"),
    [
        (": 1843", "1843"),
        ("- “Ada” said", "Ada” said"),
        ("__**Ada**", "Ada**"),
        ("$1,000", "$1,000"),
        (': "$5 million"', '$5 million"'),
        ("-17 degrees", "-17 degrees"),
        ("- 17 degrees", "17 degrees"),
        ("Ada: x", "Ada: x"),
        ("...", ""),
        ("", ""),
    ],
)
def test_leading_punctuation_goes_and_the_sign_of_a_number_stays(raw, rest):
    assert strip_leading_punctuation(raw) == rest


@pytest.mark.parametrize(
    ("raw", "clause"),
    [
        ("Ada, who wrote it", "Ada"),
        ("1,000.50 dollars. And more", "1,000.50 dollars"),
        ("J. R. R. Tolkien. He wrote", "J. R. R. Tolkien"),
        ("St. Louis; later Boston", "St. Louis"),
        ("Boston - the city", "Boston"),
        ("Boston \u2013 the city", "Boston"),
        ("a 20\u201318 win!", "a 20\u201318 win"),
        ("The answer is: Boston.", "The answer is: Boston"),
        ("Boston", "Boston"),
        ("", ""),
    ],
)
def test_a_clause_ends_at_punctuation_before_space_but_not_within_numbers_and_names(raw, clause):
    assert first_clause(raw) == clause


def test_first_words_are_counted_and_none_is_refused():
    assert first_words("  the  big\tblack cat", 3) == "the big black"
    assert first_words("cat", 3) == "cat"
    with pytest.raises(ValueError, match="first 0 words"):
        first_words("cat", 0)


@given(st.text(max_size=40))
@settings(derandomize=True, deadline=None)
def test_extractors_only_ever_shorten_and_repeating_one_changes_nothing(raw):
    for name, extract in EXTRACTORS.items():
        taken = extract(raw)
        assert len(taken) <= len(raw), name
        assert extract(taken) == taken, name


def test_extractors_are_scored_over_all_golds_and_by_hand():
    rows = [
        {"raw_text": ': "Ada Lovelace, of course', "golds": ["Ada", "Ada Lovelace"]},
        {"raw_text": "1843\nand then", "golds": ["1843"]},
    ]
    scores = score_extractors(rows)
    assert list(scores) == list(EXTRACTORS)
    # Raw: "ada lovelace of course" against "ada lovelace" 2*2/(4+2) = 2/3; "1843 and then" 2*1/(3+1) = 1/2.
    assert scores["raw"].f1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (scores["raw"].exact_match, scores["raw"].changed_share) == (0.0, 0.5)
    assert scores["first_line"].f1 == pytest.approx((2 / 3 + 1) / 2)
    assert (scores["first_line"].exact_match, scores["first_line"].changed_share) == (0.5, 0.0)
    assert scores["first_clause"].as_dict() == {"exact_match": 1.0, "f1": 1.0, "changed_share": 0.5}
    assert scores["first_1_words"].exact_match == 1.0  # "Ada" is a gold too
    # "Ada Lovelace, of": 2*2/(3+2)
    assert scores["first_3_words"].f1 == pytest.approx((0.8 + 1) / 2)


def test_no_predictions_cannot_be_scored():
    with pytest.raises(ValueError, match="no predictions"):
        score_extractors([])
