from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.tasks.squad_metric import SquadScores, best_over_golds, exact_match, f1, normalize, score

WORDS = st.lists(st.sampled_from(["the", "cat", "Cat", "sat", "on", "a", "mat", "don't", "1843", "."]), max_size=6)
TEXT = st.one_of(WORDS.map(" ".join), st.text(max_size=20))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Cat", "cat"),
        ("a cat, an owl; the end.", "cat owl end"),
        ("  many \t\n spaces  ", "many spaces"),
        ("theatre another ant", "theatre another ant"),  # articles are whole words
        ("U.S.A.", "usa"),
        ("well-known", "wellknown"),  # punctuation goes without leaving a space
        ("the-cat", "thecat"),  # and it goes before the articles
        ("$1,000.50", "100050"),
        ("“quoted” …", "“quoted” …"),  # only ASCII punctuation, as in the official script
        ("A", ""),
        ("", ""),
    ],
)
def test_normalisation_is_squads(text, normal):
    assert normalize(text) == normal


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        ("The cat.", "cat", 1.0),
        ("cats", "cat", 0.0),
        ("cat sat", "sat cat", 0.0),  # order counts
        ("", "", 1.0),
        ("the", "", 1.0),  # empty once normalised
        ("cat", "", 0.0),
    ],
)
def test_exact_match_compares_normalised_texts(prediction, gold, expected):
    assert exact_match(prediction, gold) == expected


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        ("black cat", "cat", 2 / 3),  # precision 1/2, recall 1: 2 * 1/2 / (3/2)
        ("cat", "the big black cat", 1 / 2),  # precision 1, recall 1/3 once "the" is gone
        ("sat cat", "cat sat", 1.0),  # a bag of words
        ("cat cat", "cat", 2 / 3),  # a multiset: the second cat is not shared
        ("cat cat dog", "cat cat cat", 2 / 3),  # two shared: 2/3 and 2/3
        ("dog", "cat", 0.0),
        ("", "cat", 0.0),
        ("cat", "", 0.0),
        ("", "", 0.0),  # v1.1: nothing shared is 0
        ("the", "a", 0.0),
    ],
)
def test_f1_by_hand(prediction, gold, expected):
    assert f1(prediction, gold) == pytest.approx(expected)


def test_the_best_gold_counts_and_each_metric_has_its_own():
    golds = ["the big black cat", "cat", "cat of Ada"]
    assert best_over_golds("Cat", golds) == (1.0, 1.0)
    # "black cat": 2*2/(2+3) = 0.8, 2*1/(2+1) = 2/3, 2*1/(2+3) = 0.4
    assert best_over_golds("black cat", golds) == (0.0, pytest.approx(0.8))


def test_a_question_without_golds_cannot_be_scored():
    with pytest.raises(ValueError, match="at least one gold"):
        best_over_golds("cat", [])


def test_scores_are_means_over_all_questions_and_a_missing_answer_is_zero():
    golds = {"1": ["cat"], "2": ["dog", "black dog"], "3": ["owl"], "4": ["ant"]}
    answers = {"1": "the cat", "2": "big black dog", "3": "", "unknown": "ant"}
    # F1: 1, best of 1/2 and 2*2/(3+2) = 0.8, 0, missing 0; EM: 1, 0, 0, 0
    assert score(answers, golds) == SquadScores(exact_match=0.25, f1=pytest.approx(0.45), total=4, missing=1)


def test_no_answers_at_all_score_zero():
    assert score({}, {"1": ["cat"]}) == SquadScores(exact_match=0.0, f1=0.0, total=1, missing=1)


def test_no_questions_cannot_be_scored():
    with pytest.raises(ValueError, match="no questions"):
        score({"1": "cat"}, {})


@given(TEXT)
@settings(derandomize=True, deadline=None)
def test_an_answer_equals_itself(text):
    assert exact_match(text, text) == 1.0
    assert f1(text, text) == (1.0 if normalize(text) else 0.0)


@given(TEXT, TEXT)
@settings(derandomize=True, deadline=None)
def test_f1_is_symmetric_and_bounded_and_exact_match_implies_it(a, b):
    assert f1(a, b) == pytest.approx(f1(b, a), abs=1e-12)
    assert 0.0 <= f1(a, b) <= 1.0
    if exact_match(a, b) and normalize(a):
        assert f1(a, b) == 1.0


@given(WORDS, WORDS)
@settings(derandomize=True, deadline=None)
def test_case_articles_punctuation_and_space_change_no_score(a, b):
    plain, dressed = " ".join(a), "The  " + " , an ".join(a).upper() + "!"
    assert f1(dressed, " ".join(b)) == f1(plain, " ".join(b))
    assert exact_match(dressed, plain) == 1.0


@given(TEXT, st.lists(TEXT, min_size=1, max_size=4))
@settings(derandomize=True, deadline=None)
def test_both_metrics_take_the_best_of_every_gold_answer_by_the_plain_formula(answer, golds):
    def by_multisets(gold):
        predicted, wanted = normalize(answer).split(), normalize(gold).split()
        shared = sum((Counter(predicted) & Counter(wanted)).values())
        if shared == 0:
            return 0.0
        precision, recall = shared / len(predicted), shared / len(wanted)
        return 2 * precision * recall / (precision + recall)

    expected = max(exact_match(answer, gold) for gold in golds), max(map(by_multisets, golds))
    assert best_over_golds(answer, golds) == expected, "to the last bit"


@given(TEXT, st.lists(TEXT, min_size=1, max_size=3), TEXT)
@settings(derandomize=True, deadline=None)
def test_another_gold_never_lowers_a_score(answer, golds, other):
    more, fewer = best_over_golds(answer, [*golds, other]), best_over_golds(answer, golds)
    assert more[0] >= fewer[0]
    assert more[1] >= fewer[1]


@given(st.dictionaries(st.sampled_from("abcdef"), TEXT), st.dictionaries(st.sampled_from("abcd"), TEXT, min_size=1))
@settings(derandomize=True, deadline=None)
def test_a_missing_answer_scores_as_a_wrong_one(answers, golds):
    golds = {id_: [gold] for id_, gold in golds.items()}
    missing = golds.keys() - answers.keys()
    scores, filled = score(answers, golds), score({**answers, **dict.fromkeys(missing, "\u2603 wrong")}, golds)
    assert (scores.exact_match, scores.f1) == (filled.exact_match, filled.f1)
    assert scores.missing == len(missing)
