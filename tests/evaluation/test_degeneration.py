import json
import math

import pytest

from answer_rows import row, rows
from thinwire.evaluation.answer_metrics import gold_metrics
from thinwire.evaluation.degeneration import Limits, diagnose

WORDS = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay"]


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
