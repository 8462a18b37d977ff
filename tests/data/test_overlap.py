"""Paragraphs that two splits share."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.data.overlap import Overlap, shared_paragraphs
from tiny_models import example

MILLS, BRIDGES, FERRIES = "Ulm has 3 mills.", "Ulm has 2 bridges.", "Ulm has 1 ferry."


def about(number, context, question=None):
    made = example(number, context=context)
    return replace(made, question=question) if question else made


def test_equal_texts_are_shared_whatever_their_whitespace_and_each_counts_once():
    seen = [about(0, MILLS), about(1, BRIDGES)]
    scored = [about(2, FERRIES), about(3, " Ulm  has 2\nbridges. "), about(4, BRIDGES), about(5, MILLS)]
    assert shared_paragraphs(seen, scored) == (BRIDGES, MILLS)


def test_an_edited_paragraph_is_found_by_its_question():
    seen = [about(0, MILLS), about(1, BRIDGES)]
    edited = "Ulm, which lies on the Danube, has 2 bridges."
    assert shared_paragraphs(seen, [about(7, edited), about(1, edited), about(8, edited)]) == (edited,)


def test_questions_that_are_only_numbered_alike_share_nothing():
    assert shared_paragraphs([about(0, MILLS)], [about(0, BRIDGES, "How many bridges?")]) == ()


PARAGRAPHS = st.lists(st.sampled_from("abcdef"), max_size=8)


@given(PARAGRAPHS, PARAGRAPHS)
@settings(derandomize=True, max_examples=50, deadline=None)
def test_what_is_shared_is_the_intersection(ours, theirs):
    seen = [about(number, text) for number, text in enumerate(ours)]
    scored = [about(100 + number, text) for number, text in enumerate(theirs)]
    found = shared_paragraphs(seen, scored)
    assert set(found) == set(ours) & set(theirs)
    assert len(set(found)) == len(found)


def test_an_overlap_is_described_by_its_number_and_the_first_words_of_one_paragraph():
    one = Overlap(seen="training questions", scored="test questions", paragraphs=(MILLS,))
    assert str(one) == "1 paragraph of the test questions is also in the training questions, such as 'Ulm has 3 mills.'"
    many = replace(one, paragraphs=("Ulm has 3 mills, 2 bridges and 1 ferry.", *[MILLS] * 1233))
    assert str(many) == (
        "1,234 paragraphs of the test questions are also in the training questions, "
        "such as 'Ulm has 3 mills, 2 bridges and 1 ...'"
    )
