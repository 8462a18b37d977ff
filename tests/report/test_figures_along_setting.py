import re
from itertools import pairwise

import pytest

from small_analysis import (
    changed,
    difference,
    example,
    lora,
    only,
    study,
    with_each,
    with_row,
    with_rows,
    without,
)
from thinwire.report.figures import ladder, sensitivity
from thinwire.report.figures.data import changes
from thinwire.report.figures.data.settings import along_settings, words
from thinwire.report.figures.svg.text import text_width


def marks(markup):
    """Positions of the marks of a drawing, legend keys left out, in the order drawn."""
    found = re.findall(r'class="mark (?!key)[^"]*" data-x="([^"]+)" data-y="([^"]+)"', markup)
    return [(float(x), float(y)) for x, y in found]


def curves_of(analysis):
    return {found.path: found for found in along_settings(analysis)}


def values(line):
    return [(point.value, point.arm.name) for point in line.points]


def test_settings_are_called_by_a_few_words():
    cases = {("lora.rank", 16): "rank 16", ("lora.rank", 0): "no LoRA", ("lora.layers", 12): "12 layers"}
    cases |= {("adapter.hidden", 9216): "hidden 9216", ("supervision.ce_weight", 0.001): "ce weight 0.001"}
    cases |= {
        ("prompt.style", "plain"): "style plain",
        ("codec.compress_dim", None): "compress dim none",
        ("context", False): "context false",
    }
    assert {key: words(*key) for key in cases} == cases


def test_settings_that_end_alike_are_called_by_their_group_too():
    both = ["codec.weighting", "reconstruction.weighting", "codec.autoencoder.hidden"]
    assert words("reconstruction.weighting", "sqrt", both) == "reconstruction weighting sqrt"
    assert words("codec.autoencoder.hidden", 9216, [*both, "adapter.hidden"]) == "autoencoder hidden 9216"
    assert words("codec.autoencoder.hidden", 9216, both) == "hidden 9216"


# Lines along one setting


def test_the_plans_sweep_has_a_figure_of_alpha_with_each_rank_and_its_layers_as_a_line():
    more = [
        lora("r4_a16_layers8", 0.296875, 4, 16.0, 8, 8),
        lora("r8_a16_layers12", 0.3203125, 8, 16.0, 12, 12),
    ]
    (found,) = along_settings(with_rows(example(), [*example().rows, *more]))
    assert (found.path, found.values, found.shared) == ("lora.alpha", [8, 16, 32], "")
    assert [line.label for line in found.lines] == ["rank 4, 8 layers", "rank 8, 12 layers"]  # rank 16 is one arm
    assert [(point.value, point.arm.estimate) for point in found.lines[1].points] == [
        *((8, 0.0625), (16, 0.0703125), (32, 0.078125)),
    ]
    assert not found.has_cosine  # all the same


def test_two_values_make_no_figure_of_their_own():
    assert along_settings(example()) == []  # alpha 8 and 32 at rank 8


def test_lines_are_told_apart_by_what_differs_between_them_and_the_rest_is_said_once():
    found = curves_of(study())["codec.ratio"]
    assert [line.label for line in found.lines] == ["no LoRA", "rank 16"]
    assert found.shared == "style auto, k tokens 4, ce weight 0.0625"
    assert values(found.lines[1]) == [(2, "ratio2_lora"), (4, "start_lora"), (8, "ratio8_lora")]
    assert found.has_cosine  # 0.9375 to 0.984375


def test_an_arm_for_which_a_setting_does_nothing_is_on_the_line_of_any_value_of_it():
    found = curves_of(study())
    (line,) = found["supervision.ce_weight"].lines
    # Without cross-entropy there are no tokens to supervise, so ce0 is of the line of 4 and adds none of 8.
    assert values(line) == [(0, "ce0"), (0.0625, "start"), (0.5, "ce0_5"), (1, "ce1")]
    assert line.label == ""
    assert found["supervision.ce_weight"].shared == "style auto, ratio 4, k tokens 4, no LoRA"
    assert "supervision.k_tokens" not in found  # 4 and 8


def test_a_seed_is_no_quantity_and_words_are_no_numbers():
    arms = study().rows[:4]
    for path, values_ in (
        ("seed", [0, 1, 2, 3]),
        ("prompt.style", list("abcd")),
        ("context", [True, False, True, False]),
    ):
        settings = [{path: value} for value in values_]
        changed_arms = (arm.model_copy(update={"settings": s}) for arm, s in zip(arms, settings, strict=True))
        assert along_settings(with_rows(study(), changed_arms)) == []


def test_what_has_no_difference_is_on_no_line():
    analysis = with_each(without(study(), "start"), lambda row: {"score_difference": None})
    assert along_settings(analysis) == []


def test_values_stand_at_equal_distances_and_lines_beside_each_other():
    drawn = sensitivity.draw(curves_of(study())["codec.ratio"], "F1", 912).markup
    # Two panels of 440 beside each other, 32 apart. The first over 46 to 430: thirds of 384, centres at 64 and each
    # 128 on. Two lines, 9 apart. Differences with intervals from -0.09375 to 0.1875, ticks from -0.1 to 0.2 over 268
    # to 48; cosines from 0.9375 to 0.984375, ticks from 0.93 to 0.99.
    x = [110, 238, 366]
    y = [268 - 220 * (value + 0.1) / 0.3 for value in (0.03125, 0, -0.0625)]
    assert marks(drawn)[:3] == [(left - 4.5, pytest.approx(top, abs=0.06)) for left, top in zip(x, y, strict=True)]
    assert [left for left, _ in marks(drawn)[3:6]] == [left + 4.5 for left in x]
    assert [left for left, _ in marks(drawn)[6:9]] == [left - 4.5 + 472 for left in x]
    cosines = [268 - 220 * (value - 0.93) / 0.06 for value in (0.984375, 0.96875, 0.9375)]
    assert [top for _, top in marks(drawn)[9:]] == pytest.approx(cosines, abs=0.06)
    assert drawn.count('class="outer c0"') == 2  # the baseline has no interval
    assert drawn.count('class="outer c1"') == 3
    assert "codec.ratio, at equal distances" in drawn


def test_on_a_narrow_page_the_cosine_is_below():
    found = curves_of(study())["codec.ratio"]
    lefts = [x for x, _ in marks(sensitivity.draw(found, "F1", 342).markup)]
    assert lefts[:6] == lefts[6:]
    assert max(lefts) < 342


def test_many_lines_stay_beside_their_value():
    more = [
        changed(f"k{k}_{ratio}", 0.25, 2000, supervision__k_tokens=k, codec__ratio=float(ratio))
        for k in range(10, 24)
        for ratio in (2, 4, 8)
    ]
    found = curves_of(with_rows(study(), [*study().rows, *more]))["codec.ratio"]
    assert len(found.lines) == 16
    # One panel over 46 to 390 at 400: values 114.67 apart, of which sixteen lines take at most 0.72.
    x = sorted(x for x, _ in marks(sensitivity.draw(found, "F1", 400).markup)[:48])
    assert x[16] - x[15] > 0.28 * 114.6
    assert min(later - earlier for earlier, later in pairwise(x)) > 5


# Single changes


def test_each_rung_is_one_change_in_words_by_what_it_gains_and_the_rest_is_apart():
    found = changes.ladder(study())
    assert (found.baseline, found.score) == ("start", 0.25)
    assert [(rung.label, rung.arm.estimate) for rung in found.single] == [
        ("lora.rank 16", 0.125),
        ("supervision.ce_weight 1", 0.0625),
        ("codec.ratio 2", 0.03125),
        ("supervision.ce_weight 0.5", 0.03125),
        ("supervision.k_tokens 8", 0.015625),
        ("codec.ratio 8", -0.0625),
        ("prompt.style plain", -0.0625),
        ("supervision.ce_weight 0", -0.125),
    ]
    assert [(rung.label, rung.changes) for rung in found.combined] == [
        ("ratio2_lora", "codec.ratio 2, lora.rank 16"),
        ("ratio8_lora", "codec.ratio 8, lora.rank 16"),
    ]


def test_settings_of_one_group_are_one_change():
    cut = changed("cut", 0.125, 2000, prompt__max_tokens=320, prompt__truncation="right")
    found = changes.ladder(with_rows(study(), [cut, *study().rows]))
    assert "prompt.max_tokens 320, truncation right" in [rung.label for rung in found.single]


def test_there_is_no_ladder_where_all_changes_are_of_one_or_two_kinds():
    assert changes.ladder(example()) is None  # LoRA alone
    kept = ("start", "start_lora", "ratio2", "ratio8", "ratio2_lora")  # LoRA and the codec
    assert changes.ladder(only(study(), *kept)) is None
    assert changes.ladder(without(study(), "start")) is None


def test_bars_go_from_the_baselines_f1_to_the_arms():
    found = changes.ladder(study())
    assert found.span() == (0.09375, 0.4375)  # 0.125 - 0.03125 and 0.40625 + 0.03125
    drawn = ladder.draw(found, 912).markup
    # The longest label and 18; numbers take 234. From 0 to 0.5, from 8 beside the labels to 670.
    left = text_width("supervision.ce_weight 0.5") + 18 + 8
    size = 670 - left
    at = lambda f1: left + size * f1 / 0.5  # noqa: E731
    assert marks(drawn)[0] == (pytest.approx(at(0.375), abs=0.06), 45.5)  # a row of 27 below 32
    bars = re.findall(r'<rect x="([^"]+)" y="[^"]+" class="change (\w+)" width="([^"]+)"', drawn)
    assert [(css, float(x)) for x, css, _ in bars[:1]] == [("c0", pytest.approx(at(0.25), abs=0.06))]
    assert [float(width) for _, _, width in bars[:2]] == pytest.approx(
        [size * 0.125 / 0.5, size * 0.0625 / 0.5], abs=0.06
    )
    assert float(bars[-3][0]) == pytest.approx(at(0.125), abs=0.06)  # a cost ends at the baseline
    # A half width of 0.03125: what gains no more than that may be nothing.
    assert [css for _, css, _ in bars] == [*("c0", "c0", "soft", "soft", "soft", "c1", "c1", "c1"), "c0", "c0"]
    assert ladder.COMBINED in drawn


def test_an_interval_may_reach_below_zero_and_the_axis_does_not():
    low = {"score": 0.015625, "score_difference": difference(-0.234375, -0.28, -0.18)}
    found = changes.ladder(with_row(study(), "ce0", **low))
    assert found.span()[0] == 0
    assert all(float(x) >= 0 for x in re.findall(r'x1="([^"]+)"', ladder.draw(found, 342).markup))


def test_without_combinations_there_is_no_line_between():
    found = changes.ladder(without(study(), "ratio2_lora", "ratio8_lora"))
    assert found.combined == []
    assert ladder.COMBINED not in ladder.draw(found, 912).markup
