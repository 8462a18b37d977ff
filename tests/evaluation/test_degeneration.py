import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.evaluation.degeneration import (
    Limits,
    answer_metrics,
    copies,
    degeneration_metrics,
    diagnose,
    gold_metrics,
    holds_gold,
    repeats,
)


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


def row(id_, answer, golds=("Boston",), question="Where did the meeting take place?", stop_reason="end"):
    """Make a prediction, exact if it is literally the first gold answer."""
    return {
        "id": id_,
        "paragraph_id": f"p{id_}",
        "question": question,
        "golds": list(golds),
        "raw_text": answer,
        "text": answer,
        "exact_match": float(answer == golds[0]),
        "f1": 0.0,
        "raw_f1": 0.0,
        "stop_reason": stop_reason,
    }


def rows(answers, golds):
    return [row(f"{i:03}", *pair) for i, pair in enumerate(zip(answers, [(g,) for g in golds], strict=True))]


WORDS = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay"]


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


def test_answers_as_varied_and_short_as_gold_are_healthy_though_wrong():
    found = diagnose(rows(WORDS[1:] + WORDS[:1], WORDS))
    assert found.finding == "healthy"
    assert not any(e.beyond for e in found.evidence)
    assert (found.answers.exact_share, found.answers.distinct_share, found.gold.exact_share) == (0.0, 1.0, 1.0)
    assert found.gold.run_on_share is None
    assert [e.id for e in found.examples] == ["000", "001", "002", "003", "004"]


def test_repeated_equal_answers_are_collapsed_and_the_evidence_says_why():
    found = diagnose(rows(["the the the"] * 10, WORDS))
    assert found.finding == "collapsed"
    beyond = {e.metric: (e.value, e.limit) for e in found.evidence if e.beyond}
    # Gold answers are all distinct, repeat nothing, and 1 in 10 is the most frequent one and has its first word.
    # 1.645 standard errors of a share p of 10 answers are 1.645 sqrt(p (1 - p) / 10).
    assert beyond == {
        "mode_share": (1.0, pytest.approx(0.35 + 1.645 * math.sqrt(0.35 * 0.65 / 10))),
        "distinct_share": (0.1, pytest.approx(0.7)),
        "repeated_share": (1.0, pytest.approx(0.1 + 1.645 * math.sqrt(0.1 * 0.9 / 10))),
        "missed_opening_share": (1.0, pytest.approx(0.4 + 1.645 * math.sqrt(0.4 * 0.6 / 10))),
    }
    assert [e.beyond for e in found.evidence] == [True] * 4 + [False] * 4
    assert len(found.examples) == 5
    assert {e.shows for e in found.examples} == {"mode"}


def limit_of(metric, found):
    return next(e.limit for e in found.evidence if e.metric == metric)


def test_missed_openings_are_allowed_the_more_the_more_answers_that_begin_so_are_right():
    golds = [f"{w}{number}" for number in range(10) for w in WORDS]

    def half_begin_alike(num_right):
        """Return 100 answers: 50 start with "so", of which ``num_right`` contain the gold answer; 50 are all wrong."""
        opened = [f"so {g}" if i < num_right else f"so {i}" for i, g in enumerate(golds[:50])]
        return diagnose(rows(opened + [f"w{i}" for i in range(50)], golds))

    # 1 in 100 gold answers has the most frequent first word. None right: limit 0.01 + 0.3, no relief.
    none = half_begin_alike(0)
    assert none.answers.missed_opening_share == 0.5
    base = 0.01 + 0.3
    assert limit_of("missed_opening_share", none) == pytest.approx(base + 1.645 * math.sqrt(base * (1 - base) / 100))
    assert [e.metric for e in none.evidence if e.beyond] == ["missed_opening_share"]
    # 8 of the 50 right: expected of answers that begin like gold are 0.01 * 0.08 of all, within one allowance of that.
    some = half_begin_alike(8)
    assert some.answers.missed_opening_share == 0.42
    expected = 0.01 * 0.08
    relief = 0.08 - expected - 1.645 * math.sqrt(expected * (1 - expected) / 100)
    base = 0.01 - expected + 0.3 + 2.5 * relief
    assert limit_of("missed_opening_share", some) == pytest.approx(base + 1.645 * math.sqrt(base * (1 - base) / 100))
    assert some.finding == "healthy"


def test_right_answers_elsewhere_do_not_excuse_a_common_opening():
    golds = [f"{w}{number}" for number in range(10) for w in WORDS]
    found = diagnose(rows([f"the {i}" for i in range(50)] + golds[50:], golds))
    assert (found.answers.exact_share, found.answers.missed_opening_share) == (0.5, 0.5)
    assert found.finding == "collapsed"


def test_a_sampling_allowance_keeps_small_sets_from_alarm():
    def one_in_three(num):
        """Return answers of which each third is the same; the gold answers are all different."""
        return rows(["yes" if i % 3 == 0 else f"w{i}" for i in range(num)], [f"g{i}" for i in range(num)])

    # 33 % of 90 and 900 answers; the limit is 25 % and 1 in num, and 1.645 standard errors: 34 % and 27 %.
    only_mode = Limits(distinct_of_gold=0, missed_opening_above_gold=1)
    assert diagnose(one_in_three(90), limits=only_mode).finding == "healthy"
    assert diagnose(one_in_three(900), limits=only_mode).finding == "collapsed"


def test_one_answer_to_all_questions_of_a_paragraph_is_collapsed():
    golds = [f"g{i}" for i in range(40)]
    same = [{**r, "paragraph_id": f"p{i // 4}"} for i, r in enumerate(rows([f"w{i // 4}" for i in range(40)], golds))]
    found = diagnose(same, limits=Limits(distinct_of_gold=0))
    assert (found.answers.num_siblings, found.answers.same_in_paragraph_share) == (40, 1.0)
    assert [e.metric for e in found.evidence if e.beyond] == ["same_in_paragraph_share"]
    assert {e.shows for e in found.examples} == {"same_in_paragraph"}
    apart = [{**r, "paragraph_id": r["id"]} for r in same]
    found = diagnose(apart, limits=Limits(distinct_of_gold=0))
    assert (found.answers.num_siblings, found.answers.same_in_paragraph_share) == (0, 0.0)
    assert found.finding == "healthy"


def test_one_pair_of_equal_answers_of_a_paragraph_is_chance():
    answers = [{**r, "paragraph_id": "p"} if i < 2 else r for i, r in enumerate(rows(["x"] * 2 + WORDS[2:], WORDS))]
    found = diagnose(answers)
    assert (found.answers.num_siblings, found.answers.same_in_paragraph_share) == (2, 1.0)
    assert found.finding == "healthy"


def test_a_common_opening_is_collapsed_only_where_no_answer_follows():
    opening = [f"It is said that {w} did" for w in WORDS]
    assert diagnose(rows(opening, ["yak"] * 10)).finding == "healthy"  # gold itself always starts alike
    varied = [f"{w}s" for w in WORDS]
    assert diagnose(rows(opening, varied)).finding == "collapsed"
    found = diagnose(rows(opening, WORDS))
    assert found.finding == "format only"
    assert found.evidence[0].metric == "present_not_exact_share"
    assert (found.evidence[0].value, found.evidence[0].limit) == (1.0, 0.1)
    assert {e.shows for e in found.examples} == {"present_not_exact"}


def test_format_is_the_finding_only_if_half_of_what_was_found_is_lost_to_it():
    wordy = [f"{w} it was" for w in WORDS[:5]]
    assert diagnose(rows(wordy + WORDS[5:], WORDS)).finding == "format only"  # 5 lost, 5 exact
    assert diagnose(rows(wordy[:4] + WORDS[4:], WORDS)).finding == "healthy"  # 4 lost, 6 exact


def test_empty_answers_and_copies_are_collapsed():
    assert diagnose(rows([""] * 5 + WORDS[5:], WORDS)).evidence[0].metric == "empty_share"
    assert diagnose(rows([""] * 4 + WORDS[4:], WORDS)).finding == "healthy"
    asked = [row(w, f"who saw the {w}", ("nobody",), f"Tell me who saw the {w}?") for w in WORDS]
    assert [e.metric for e in diagnose(asked).evidence if e.beyond] == ["copied_question_share"]


def test_limits_can_be_changed():
    four_empty = rows([""] * 4 + WORDS[4:], WORDS)
    assert diagnose(four_empty, limits=Limits(empty=0.4, deviations=0)).finding == "collapsed"


def test_answers_that_hold_the_gold_answer_are_found():
    found = answer_metrics([row("1", "Boston it was", stop_reason="length"), row("2", "Boston")])
    assert (found.run_on_share, found.present_not_exact_share, found.exact_share) == (0.5, 0.5, 0.5)
    assert found.found_share == 1.0


def test_gold_metrics_may_be_given():
    answers = rows(WORDS[1:] + WORDS[:1], WORDS)
    assert diagnose(answers, gold=gold_metrics(answers)) == diagnose(answers)


def test_a_diagnosis_is_json_and_does_not_depend_on_the_order_of_rows():
    given_rows = rows([f"{w} it was" for w in WORDS] + ["ant it was"], [*WORDS, "ant"])
    found = diagnose(given_rows)
    assert found.as_dict() == diagnose(given_rows[::-1]).as_dict()
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["finding"] == "format only"


def test_no_predictions_cannot_be_diagnosed():
    with pytest.raises(ValueError, match="no answers"):
        diagnose([])
