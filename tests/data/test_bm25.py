"""BM25 scores: worked by hand, and those of a library."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.data.bm25 import K1, B, bm25_scores, words

LETTERS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=8)


def test_words_have_no_case_and_no_marks():
    assert words("The mill, of 1843: l'Été (STRASSE) straße!") == [
        *("the", "mill", "of", "1843", "l", "été", "strasse", "strasse")
    ]
    assert words("?! ...") == []


def test_scores_are_those_of_the_formula():
    # Four texts of 2, 2, 4 and 0 words, 2 on average. "a" is in two: ln(1 + 2.5 / 2.5); "c" in one: ln(1 + 3.5 / 1.5).
    texts = [["a", "b"], ["b", "d"], ["a", "a", "c", "d"], []]
    long = 1.2 * (0.25 + 0.75 * 4 / 2)  # 2.1; a text of average length has 1.2
    expected = [
        math.log(2) * 1 / (1 + 1.2),
        0,
        math.log(2) * 2 / (2 + long) + math.log(1 + 3.5 / 1.5) * 1 / (1 + long),
        0,
    ]
    assert bm25_scores(["a", "c", "a", "z"], texts) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("texts", [[], [[]], [[], []]])
def test_texts_without_words_score_nothing(texts):
    assert bm25_scores(["a"], texts) == [0.0] * len(texts)


@given(LETTERS, st.lists(LETTERS, min_size=1, max_size=6))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_scores_are_those_of_a_library(question, texts):
    bm25s = pytest.importorskip("bm25s")
    index = bm25s.BM25(k1=K1, b=B, method="lucene")
    index.index(texts, show_progress=False)
    known = [word for word in dict.fromkeys(question) if any(word in text for text in texts)]
    expected = index.get_scores(known) if known else [0.0] * len(texts)
    assert bm25_scores(question, texts) == pytest.approx(expected, abs=1e-5)


@given(LETTERS, st.lists(LETTERS, min_size=1, max_size=6))
@settings(derandomize=True, deadline=None)
def test_a_text_scores_above_nothing_if_it_has_a_word_of_the_question(question, texts):
    scores = bm25_scores(question, texts)
    assert [score > 0 for score in scores] == [bool(set(question) & set(text)) for text in texts]
