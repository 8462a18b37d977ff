import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arm_comparisons import arm_comparison
from thinwire.config.settings import VerdictConfig
from thinwire.errors import UsageError
from thinwire.schema import build
from thinwire.stats.bootstrap import Comparison
from thinwire.stats.inference import Interval
from thinwire.stats.tiers import TIERS, Tiers, planned_tier
from thinwire.stats.verdict import ARM_IS_BETTER, RUN_AGAIN, Addition, arm_verdict, judge, sweep_verdict
from thinwire.stats.words import Words

NEXT_STEPS = {"no help": ("Stop",), "marginal": ("Note it",), "significant": ("Use it", "Tell others"), "strong": ()}


def arm(difference, half_width):
    """An arm at 1,000 questions, in F1 points; the critical value is 2.5."""
    low, high = (difference - half_width) / 100, (difference + half_width) / 100
    interval = Interval(low=low, high=high)
    return arm_comparison(difference / 100, standard_error=half_width / 250, critical=2.5, simultaneous=interval)


def sweep(**arms):
    return Comparison(arms=arms, confidence=0.95, num_resamples=1000)


@pytest.mark.parametrize(
    ("difference", "tier"),
    [
        (-0.3, "no help"),
        (0.0199, "no help"),
        (0.02, "marginal"),
        (0.0499, "marginal"),
        (0.29 - 0.24, "significant"),  # 0.04999999999999999
        (0.0999, "significant"),
        (0.34 - 0.24, "strong"),
        (0.5, "strong"),
    ],
)
def test_tiers_are_the_plans(difference, tier):
    assert Tiers().of(difference) == tier


def test_thresholds_can_be_moved_and_must_rise():
    assert Tiers(marginal=1, significant=3, strong=4).of(0.035) == "significant"
    for bad, message in (
        ({"marginal": 0}, "verdict.marginal: Input should be greater than 0"),
        ({"marginal": 6}, "verdict: thresholds must rise, not 6, 5, 10"),
        ({"strong": 5}, "verdict: thresholds must rise, not 2, 5, 5"),
        ({"strong": float("nan")}, "verdict.strong: Input should be a finite number"),
    ):
        with pytest.raises(UsageError, match=message):
            build(VerdictConfig, bad, where="verdict")


@pytest.mark.parametrize(
    ("difference", "half_width", "observed", "supported"),
    [
        (12, 1, "strong", "strong"),  # 11 to 13
        (12, 3, "strong", "significant"),  # 9 to 15
        (12, 8, "strong", "marginal"),  # 4 to 20
        (12, 11, "strong", None),  # 1 to 23
        (3, 1, "marginal", "marginal"),  # the lower end is the threshold
        (1, 0.9, "slight", "slight"),  # 0.1 to 1.9: a gain, but less than counts
        (0.5, 1, "no help", "no help"),  # -0.5 to 1.5
        (1, 1, "no help", None),  # up to 2.0
        (-4, 1, "harm", "harm"),
        (-1, 1.5, "no help", "no help"),  # -2.5 to 0.5
    ],
)
def test_the_supported_tier_is_the_one_the_interval_reaches(difference, half_width, observed, supported):
    verdict = arm_verdict(arm(difference, half_width))
    assert (verdict.observed, verdict.supported) == (observed, supported)
    assert verdict.helps is (supported in ("marginal", "significant", "strong"))
    assert (verdict.questions_to_resolve is None) is (supported is not None)


def test_the_questions_that_would_resolve_are_worked_out_by_hand():
    # Half-width 5 at 1,000 questions; 6 - 2 = 4 points of room: 1000 * (5 / 4)^2 = 1562.5
    verdict = arm_verdict(arm(6, 5), power=0.5)
    assert verdict.supported is None
    assert verdict.questions_to_resolve == 1563
    # Observed no help: the upper end has to fall from 0.5 + 5 below 2: 1000 * (5 / 1.5)^2 = 11111.1
    assert arm_verdict(arm(0.5, 5), power=0.5).questions_to_resolve == 11112


def test_an_arm_without_an_interval_is_unresolved_and_says_no_number():
    few = replace(arm(6, 5), outcome="too few", reason="one paragraph", simultaneous=None, critical=None)
    verdict = arm_verdict(few)
    assert (verdict.observed, verdict.supported, verdict.questions_to_resolve) == ("significant", None, None)
    found = sweep_verdict(sweep(a=few), "a", next_steps=NEXT_STEPS)
    assert found.headline == "Not resolved: the data give no interval"
    assert found.next_steps == (
        "Evaluate questions about more paragraphs: an interval needs at least 6 paragraphs, and not most questions in "
        "a few of them",
    )
    assert "(one paragraph)" in found.lesson
    assert not found.helped


@pytest.mark.parametrize(
    ("words", "step"),
    [
        (Words(item="item", cluster="item"), "Evaluate more items: an interval needs at least 6 items"),
        (
            Words(item="item", cluster="cluster", within="in"),
            "Evaluate items in more clusters: an interval needs at least 6 clusters, and not most items in a few of "
            "them",
        ),
    ],
)
def test_what_to_evaluate_where_clusters_are_too_few_is_in_the_words_of_the_comparison(words, step):
    few = replace(arm(6, 5), outcome="too few", reason="few", simultaneous=None, critical=None)
    assert judge(sweep(a=few), "a", words=words).how_to_resolve == step


def test_where_hardly_any_paragraph_differs_more_of_them_are_asked_for():
    bounded = replace(arm(6, 5), outcome="few differences", critical=None)
    assert sweep_verdict(sweep(a=bounded), "a").next_steps == (
        "Evaluate questions about more paragraphs and train more seeds: the results so far do not say how many "
        "questions would do",
    )


def test_an_interval_without_width_shows_nothing():
    flat = replace(arm(12, 1), simultaneous=Interval(low=0.12, high=0.12))
    verdict = arm_verdict(flat)
    assert (verdict.supported, verdict.gains, verdict.helps) == (None, False, False)
    assert sweep_verdict(sweep(a=flat), "a").headline.startswith("Not resolved: ")


@given(st.floats(-20, 20), st.floats(0.01, 20))
@settings(derandomize=True, deadline=None)
def test_what_is_supported_is_never_above_what_is_observed(difference, half_width):
    verdict = arm_verdict(arm(difference, half_width))
    if verdict.supported is not None:
        order = ["harm", "no help", "slight", *TIERS[1:]]
        assert order.index(verdict.supported) <= order.index(verdict.observed)
        assert planned_tier(verdict.observed) == Tiers().of(difference / 100)
        assert (verdict.supported == "harm") is (difference + half_width < 0)
        assert verdict.gains is (verdict.supported not in ("harm", "no help"))
    json.dumps(asdict(verdict), allow_nan=False)


@pytest.mark.parametrize(("difference", "tier"), [(0, "no help"), (3, "marginal"), (6, "significant"), (12, "strong")])
def test_a_sweep_has_the_next_steps_of_its_tier_and_none_where_the_experiment_has_none(difference, tier):
    comparison = sweep(small=arm(0, 0.5), best=arm(difference, 0.5))
    found = sweep_verdict(comparison, "best", next_steps=NEXT_STEPS)
    assert found.verdict.supported == tier
    assert found.helped is (tier != "no help")
    assert found.next_steps == NEXT_STEPS[tier]
    assert found.next_steps_if_confirmed == ()
    assert f"best gains {difference:+.1f} F1 points over the baseline (95% interval over all arms" in found.lesson
    json.dumps(asdict(found), allow_nan=False)
    for steps in (None, {}, {name: one for name, one in NEXT_STEPS.items() if name != tier}):
        assert sweep_verdict(comparison, "best", next_steps=steps) == replace(found, next_steps=())


def test_an_unresolved_sweep_asks_for_questions_and_keeps_the_branch_for_later():
    found = sweep_verdict(sweep(best=arm(6, 7)), "best", next_steps=NEXT_STEPS, power=0.5)
    assert not found.helped
    assert not found.verdict.gains
    assert found.lesson == (
        "Whether LoRA raises the score is not resolved: best gains +6.0 F1 points "
        "over the baseline (95% interval over all arms -1.0 to +13.0, 1,000 questions)."
    )
    assert found.next_steps == (
        "Evaluate about 3,063 questions: if the observed difference is the true one, that resolves it with a "
        "probability of 50%",
    )
    assert found.next_steps_if_confirmed == NEXT_STEPS["significant"]


def test_more_questions_than_there_are_are_not_asked_for():
    few = sweep_verdict(sweep(best=arm(6, 7)), "best", power=0.5, available=3062)  # one fewer than above
    said = "It would take more than the 3,062 questions there are: more seeds or a larger effect are needed"
    assert few.next_steps == (said,)
    assert few.verdict.questions_to_resolve is None
    enough = sweep_verdict(sweep(best=arm(6, 7)), "best", power=0.5, available=3063)
    assert enough.verdict.questions_to_resolve == 3063


def test_where_seeds_alone_vary_too_much_more_of_them_are_asked_for():
    luck = replace(arm(6, 7), question_variance=0.0001, seed_variance=0.0256)  # 16 points of luck for 4 of room
    found = sweep_verdict(sweep(best=luck), "best")
    assert found.next_steps == ("Train more seeds: no number of questions would resolve it with those that there are",)


def test_a_gain_that_may_be_too_small_to_count_is_still_called_a_gain():
    found = sweep_verdict(sweep(best=arm(6, 5)), "best")
    assert found.verdict.gains
    assert not found.helped
    assert found.headline == "Not resolved: a gain, the estimate is significant, but the data do not settle its tier"
    assert found.lesson.startswith(
        "LoRA raises the score, but by how much is not resolved: best "
        "gains +6.0 F1 points over the baseline (95% interval over all arms +1.0 to +11.0"
    )


@pytest.mark.parametrize(
    ("difference", "half_width", "headline", "lesson"),
    [
        (-4, 1, "Worse than the baseline", "wide is worse than the baseline: wide loses 4.0 F1 points to"),
        (
            0,
            1,
            "No gain of 2 points over the baseline",
            "wide is not 2 points better than the baseline: wide gains +0.0",
        ),
        (1, 0.5, "A gain of less than 2 points over", "wide is better than the baseline by less than 2 points: wide"),
        (
            3,
            0.5,
            "Better than the baseline: marginal",
            "wide is at least 2 points better than the baseline: wide gains +3.0",
        ),
        (
            12,
            5,
            "Better than the baseline: at least significant, the estimate is strong",
            "wide is at least 5 points better than the baseline: wide gains +12.0",
        ),
        (
            6,
            5,
            "Not resolved: a gain, the estimate is significant",
            "wide is better than the baseline, but by how",
        ),
        (
            1,
            5,
            "Not resolved: the estimate is below 2 points, the data",
            "Whether wide is better than the baseline is not resolved:",
        ),
    ],
)
def test_a_sweep_that_is_not_about_lora_says_nothing_of_it(difference, half_width, headline, lesson):
    found = sweep_verdict(sweep(wide=arm(difference, half_width)), "wide", claim=ARM_IS_BETTER)
    assert found.headline.startswith(headline)
    assert found.lesson.startswith(lesson)
    assert "LoRA" not in found.headline + found.lesson + " ".join(found.next_steps + found.next_steps_if_confirmed)


@pytest.mark.parametrize(
    ("difference", "half_width", "headline", "lesson"),
    [
        (-4, 1, "LoRA lowers the score", "LoRA lowers the score: wide loses 4.0"),
        (0, 1, "No gain of 2 points with LoRA", "LoRA does not raise the score by 2 points: wide"),
        (1, 0.5, "A gain of less than 2 points with LoRA", "LoRA raises the score by less than 2 points: wide"),
        (12, 1, "LoRA gains: strong", "LoRA raises the score by at least 10 points: wide"),
    ],
)
def test_a_gain_of_lora_is_no_help_with_compression(difference, half_width, headline, lesson):
    found = sweep_verdict(sweep(wide=arm(difference, half_width)), "wide")
    assert found.headline == headline
    assert found.lesson.startswith(lesson)
    assert "compress" not in found.headline + found.lesson


def test_the_lesson_says_what_the_lower_end_shows_and_no_more():
    wide = sweep_verdict(sweep(best=arm(11, 8)), "best", Tiers(marginal=2.5))
    # 3 to 19 points: as much as 10 is neither shown nor ruled out.
    assert wide.lesson.startswith("LoRA raises the score by at least 2.5 points: best gains +11.0")
    assert wide.headline == "LoRA gains: at least marginal, the estimate is strong"


@pytest.mark.parametrize(
    ("best", "others", "remark"),
    [
        (arm(0, 1), {"a": arm(12, 1)}, "1 arm that was not chosen gains at least 2 points"),
        (arm(-4, 1), {"a": arm(12, 1), "b": arm(4, 1)}, "2 arms that were not chosen gain at least 2 points"),
        (arm(0, 1), {"a": arm(3, 4)}, "1 other arm is not resolved"),
        (arm(0, 1), {"a": arm(3, 4), "b": arm(3, 4)}, "2 other arms are not resolved"),
        (arm(3, 4), {"a": arm(12, 1)}, "1 arm that was not chosen gains at least 2 points"),
        (arm(3, 4), {"a": arm(3, 4)}, ""),
        (arm(0, 1), {"a": arm(0, 1)}, ""),
        (arm(3, 1), {"a": arm(12, 1)}, ""),
    ],
)
def test_a_headline_against_the_chosen_arm_says_what_others_show(best, others, remark):
    found = sweep_verdict(sweep(best=best, **others), "best", addition=Addition(remark="said before"))
    assert found.headline.endswith(f"(said before; {remark})" if remark else "(said before)")


def test_a_loss_that_rounds_to_nothing_is_no_loss():
    assert ": best gains +0.0 F1 points over" in sweep_verdict(sweep(best=arm(-0.04, 1)), "best").lesson


@pytest.mark.parametrize("difference", [-4, 1])
def test_harm_and_a_slight_gain_have_the_next_steps_of_no_help(difference):
    found = sweep_verdict(sweep(best=arm(difference, 0.5)), "best", next_steps=NEXT_STEPS)
    assert (found.next_steps, found.helped) == (("Stop",), False)


def test_the_smallest_gain_that_counts_is_the_sweeps_own():
    found = sweep_verdict(sweep(best=arm(1, 0.5)), "best", Tiers(marginal=1.75))
    assert found.headline == "A gain of less than 1.75 points with LoRA"


def test_what_is_said_beside_the_gain_follows_it():
    addition = Addition(headline="on text too", sentence="It gains 12 on text.", remark="1 of 3 arms has no result")
    found = sweep_verdict(sweep(best=arm(12, 1)), "best", addition=addition)
    assert found.headline == "LoRA gains: strong; on text too (1 of 3 arms has no result)"
    assert found.lesson.endswith("1,000 questions). It gains 12 on text.")


def test_a_refusal_leaves_a_strong_gain_unresolved():
    addition = Addition(headline="on text too", refusal="8 of 10 arms have no result")
    found = sweep_verdict(sweep(best=arm(12, 1)), "best", addition=addition, next_steps=NEXT_STEPS)
    assert found.headline == "Not resolved: 8 of 10 arms have no result"
    assert found.lesson.startswith("Whether LoRA raises the score is not resolved: best gains +12.0")
    assert (found.supported, found.helped, found.next_steps) == (None, False, (RUN_AGAIN,))
    assert found.verdict.supported == "strong"


def test_the_best_arm_is_the_one_given_and_must_exist():
    assert sweep_verdict(sweep(a=arm(12, 1), b=arm(0, 1)), "b").verdict.observed == "no help"
    with pytest.raises(UsageError, match="no arm 'baseline' to judge by; choose one of a"):
        sweep_verdict(sweep(a=arm(1, 1)), "baseline")


ITEMS = Words(item="item", cluster="item", points="points", arms="treatments", more_seeds="run more seeds")


def test_one_arm_is_judged_alone_and_in_the_words_of_its_units():
    found = judge(sweep(a=arm(6, 3), b=arm(0, 1)), "a", words=ITEMS)
    assert found.headline == "Better than the baseline: at least marginal, the estimate is significant"
    assert found.lesson == (
        "a is at least 2 points better than the baseline: "
        "a gains +6.0 points over the baseline (95% interval over all treatments +3.0 to +9.0, 1,000 items)."
    )
    assert found.how_to_resolve is None
    alone = judge(sweep(b=arm(-1, 4)), "b", words=replace(ITEMS, arms=""))
    assert alone.lesson == (
        "Whether b is better than the baseline is not resolved: "
        "b loses 1.0 points to the baseline (95% interval -5.0 to +3.0, 1,000 items)."
    )
    # reach: (2.5 + 0.8416) * 1.6 * sqrt(1000 / n) <= 2 - -1, so n = 1000 * (3.3416 * 1.6 / 3)^2 = 3,176.2.
    assert alone.how_to_resolve is not None
    assert alone.how_to_resolve.startswith("Evaluate about 3,177 items: if the observed difference is the true one")


def test_a_confidence_is_never_rounded_up_to_certainty():
    found = judge(replace(sweep(a=arm(6, 3)), confidence=0.995), "a")
    assert "(99.5% interval over all arms" in found.lesson
