import dataclasses
import math
import re

import pytest

from small_analysis import (
    difference,
    example,
    lora,
    only,
    rates,
    row,
    series,
    study,
    with_each,
    with_row,
    with_rows,
    with_sizes,
    without,
)
from thinwire.report import formatting as numbers
from thinwire.report.figures import curves, forest, frequency, grid, standing, tradeoff, wire
from thinwire.report.figures.data import curves as curve_data
from thinwire.report.figures.data import differences, rows, sizes
from thinwire.report.figures.data.codes import buckets, wire_forms
from thinwire.report.figures.data.grid import grid as grid_cells
from thinwire.report.figures.svg import axes, labels, palette
from thinwire.report.figures.svg.text import clipped, text_width, wrapped


def marks(markup):
    """Positions of the marks of a drawing, legend keys left out, in the order drawn."""
    found = re.findall(r'class="mark (?!key)[^"]*" data-x="([^"]+)" data-y="([^"]+)"', markup)
    return [(float(x), float(y)) for x, y in found]


# Numbers


def test_numbers_are_written_alike_everywhere_and_a_missing_one_is_a_dash():
    assert [numbers.points(x) for x in (0.4497, 0.0, 1.0, None)] == ["45.0", "0.0", "100.0", "–"]  # noqa: RUF001
    assert [numbers.signed(x) for x in (0.1273, -0.0312, 0.0001, -0.0001)] == ["+12.7", "−3.1", "0.0", "0.0"]  # noqa: RUF001
    assert numbers.interval(-0.001, 0.059) == "[−0.1, +5.9]"  # noqa: RUF001
    assert numbers.interval(None, 0.1) == "–"  # noqa: RUF001
    assert [numbers.percent(x) for x in (0.5, 0.0, 1.0, 0.001, 0.999)] == ["50 %", "0 %", "100 %", "0.1 %", "99.9 %"]
    assert [numbers.p_value(x) for x in (0.0004, 0.021, 1.0)] == ["<0.001", "0.021", "1.000"]
    assert [numbers.short(x) for x in (12, 2500, 1.75e6, 8.03e9)] == ["12", "2.5 k", "1.75 M", "8.03 G"]
    assert numbers.whole(3588480) == "3,588,480"
    assert (numbers.step(0.05), numbers.step(-0.1), numbers.step(0.0)) == ("+5", "−10", "0")  # noqa: RUF001


# Scales


def test_ticks_are_round_and_cover_the_values():
    assert axes.nice_ticks(0, 0.25, 7) == [0, 0.05, 0.1, 0.15, 0.2, 0.25]  # steps of at least 0.0357
    assert axes.nice_ticks(-0.03, 0.1, 5) == [-0.05, 0, 0.05, 0.1]
    assert axes.nice_ticks(2.0, 2.0, 4)[0] <= 2.0 <= axes.nice_ticks(2.0, 2.0, 4)[-1]  # all equal is no failure
    assert axes.log_ticks(16, 2304) == [10, 100, 1000, 10000]
    assert axes.log_ticks(10, 10) == [10, 100]


def test_scales_place_values_linearly_and_by_their_logarithm():
    assert axes.Scale(0, 0.25, 100, 600)(0.1) == pytest.approx(300)
    assert axes.Scale(10, 1000, 0, 200, log=True)(100) == pytest.approx(100)
    assert axes.Scale(5, 5, 0, 10)(5) == 5  # one value alone stands in the middle


def test_texts_get_the_width_of_the_widest_usual_font_and_are_cut_or_broken_to_fit():
    assert text_width("Wi1") == pytest.approx(13 * (0.99 + 0.28 + 0.64))
    assert text_width("Wi1", bold=True) == pytest.approx(1.12 * text_width("Wi1"))
    assert clipped("short", 100) == "short"
    cut = clipped("a_name_that_is_too_long", 100)
    assert cut.endswith("…")
    assert 85 < text_width(cut) <= 100
    assert wrapped("one two three", text_width("one two")) == ["one two", "three"]
    assert wrapped("", 100) == []


def test_labels_that_would_meet_are_put_on_other_levels():
    assert labels.stacked([(0, 10), (5, 15), (12, 20), (13, 14)]) == [0, 1, 0, 2]


# Figures


def test_the_head_of_the_forest_grows_where_labels_of_thresholds_need_a_fourth_level():
    # Differences down to -90 make the thresholds 2, 5 and 10 and a ceiling at 13 lie closer together than their labels.
    found = [
        row("baseline", 0.6, is_baseline=True),
        lora("arm", 0.0, 4, 8.0, 8, 8, score_difference=difference(-0.9, -0.92, -0.88)),
        row("text_lora", 0.73, kind="control"),
    ]
    analysis = with_rows(example(), found)
    heights = {}
    for ceiling in (0.13, None):
        one = dataclasses.replace(differences.forest(analysis), ceiling=ceiling)
        drawn = forest.draw(one, 912)
        assert "+10.0" in drawn.markup
        heights[ceiling] = drawn.height
    assert heights[0.13] == heights[None] + 14


def test_the_forest_places_estimates_and_intervals_by_hand():
    found = [
        row("baseline", 0.25, is_baseline=True),
        lora("arm", 0.35, 4, 8.0, 8, 8, score_difference=difference(0.1, 0.05, 0.15)),
        row("text_lora", 0.5, kind="control"),
    ]
    analysis = with_rows(example(), found)
    drawn = forest.draw(differences.forest(analysis), 912).markup
    # "baseline" takes 4.19 x 13 = 54.47, + 18: the plot starts at 72.47, its scale 8 later; columns of 312 and a gap of
    # 14 end it at 586, the scale 8 before. From 0 to the ceiling (0.5 - 0.25), in steps of 0.05: 497.53 for 0.25.
    at = lambda value: 80.47 + 497.53 * value / 0.25  # noqa: E731
    written = lambda value: f"{at(value):.1f}".removesuffix(".0")  # noqa: E731
    assert marks(drawn) == [(round(at(0.1), 1), 63.5), (round(at(0), 1), 90.5)]  # rows of 27 below 50
    assert f'<line x1="{written(0.05)}" y1="63.5" x2="{written(0.15)}" y2="63.5" class="outer ink"/>' in drawn
    assert f'<line x1="{written(0.075)}" y1="63.5" x2="{written(0.125)}" y2="63.5" class="inner ink"/>' in drawn
    assert f'<line x1="{written(0.25)}"' in drawn.split('class="ceiling"')[0]
    for threshold in (0.02, 0.05, 0.1):
        assert f'<line x1="{written(threshold)}" y1="50" x2="{written(threshold)}"' in drawn


def test_the_forest_is_sorted_and_leaves_out_what_has_no_difference():
    found = differences.forest(example())
    names = ["r16_a32_full", "r8_a32_layers12", "r8_a8_layers12", "r4_a8_layers8", "baseline"]
    assert [item.name for item in found.rows] == names
    assert found.ceiling == 0.25  # 0.5 - 0.25
    assert [item.estimate for item in found.rows] == [0.125, 0.078125, 0.0625, 0.03125, 0]


def test_a_difference_without_an_interval_has_its_mark_and_no_line():
    analysis = with_row(example(), "r4_a8_layers8", score_difference=difference(0.03125))
    found = next(item for item in differences.forest(analysis).rows if item.name == "r4_a8_layers8")
    assert (found.estimate, found.outer, found.inner) == (0.03125, None, None)
    forest.draw(differences.forest(analysis), 342)


def test_the_standings_start_at_zero_and_are_sorted():
    items = differences.standings(example())
    assert [(item.name, item.role) for item in items] == [
        ("text_lora", "ceiling"),
        ("r16_a32_full", "best"),
        ("baseline", "baseline"),
        ("text_zero_shot", "control"),
        ("codec_only", "control"),
    ]
    drawn = standing.draw(items, "F1", 912).markup
    # From 16 beside the widest label, the best arm's in bold, to 862 is 0 to 0.5.
    left = text_width("r16_a32_full (best)", bold=True) + 16
    at = lambda value: left + (862 - left) * value / 0.5  # noqa: E731
    assert [x for x, _ in marks(drawn)] == [round(at(f1), 1) for f1 in (0.5, 0.375, 0.25, 0.15625, 0.03125)]


def test_the_standings_have_a_scale_from_zero_where_nothing_is_right():
    items = [differences.Standing("k2", "k2 (best)", 0.0, "best"), differences.Standing("text", "text", 0.0, "control")]
    drawn = standing.draw(items, "F1", 912).markup
    left = text_width("k2 (best)", bold=True) + 16
    assert [x for x, _ in marks(drawn)] == [round(left, 1)] * 2
    assert ">-" not in drawn, "no label of a negative score"


def test_parameters_stand_where_they_belong():
    (found,) = sizes.tradeoffs(example())  # of bytes there is one size alone
    assert [(p.label, p.size, p.group) for p in found.points] == [
        ("baseline", 1000, ""),
        (f"r4 {rows.ALPHA}8", 2000, "8 layers"),
        (f"r8 {rows.ALPHA}8", 3000, "12 layers"),
        (f"r8 {rows.ALPHA}32", 3000, "12 layers"),
        (f"r16 {rows.ALPHA}32", 5000, "all 30 layers"),
    ]
    assert (found.key, found.groups, found.are_lines) == (
        "parameters",
        ["8 layers", "12 layers", "all 30 layers"],
        False,
    )
    drawn = tradeoff.draw(found, 912).markup
    # Ticks from 1,000 to 5,000 over 46 to 890; F1 from 0.25 to 0.5 over 344 (bottom) to 44.
    expected = {(46 + 844 * (p.size - 1000) / 4000, 344 - 300 * (p.score - 0.25) / 0.25) for p in found.points}
    assert set(marks(drawn)) == {(round(x, 1), round(y, 1)) for x, y in expected}
    assert not tradeoff.is_log(found)
    assert 'y1="44" x2="890" y2="44" class="ceiling"' in drawn
    assert "original table" not in drawn


def test_arms_that_differ_much_in_size_get_a_logarithmic_axis():
    analysis = without(with_row(example(), "r16_a32_full", params=1_000_000), "text_lora")
    (found,) = sizes.tradeoffs(analysis)
    assert tradeoff.is_log(found)
    drawn = tradeoff.draw(found, 912).markup
    # From 10^3 to 10^6 over 844, F1 from 0.25 to 0.4 over 300: 0.375 lies 250 above 344; log10(2) of 3 is 0.1003.
    assert {(46.0, 344.0), (890.0, 94.0), (130.7, 281.5)} <= set(marks(drawn))
    assert "ceiling" not in drawn


def test_lines_of_one_setting_join_arms_by_the_size_that_it_changes():
    of_parameters, of_bytes, of_bits = sizes.tradeoffs(study())
    assert (of_parameters.key, of_bytes.key, of_bits.key) == ("parameters", "bytes", "bits")
    # Four weights of the cross-entropy make a longer line than three ratios, but leave the size as it is.
    assert (of_bytes.groups, of_bytes.are_lines) == (["no LoRA", "rank 16"], True)
    assert [(p.name, p.label, p.size, p.group) for p in of_bytes.points if p.group] == [
        ("ratio8", "ratio 8", 1500, "no LoRA"),
        ("ratio8_lora", "ratio 8", 1500, "rank 16"),
        ("start", "ratio 4", 2000, "no LoRA"),
        ("start_lora", "ratio 4", 2000, "rank 16"),
        ("ratio2", "ratio 2", 3000, "no LoRA"),
        ("ratio2_lora", "ratio 2", 3000, "rank 16"),
    ]
    assert [p.label for p in of_bytes.points if not p.group] == ["ce0", "ce0_5", "ce1", "k8", "plain"]
    assert [p.size for p in of_parameters.points][-1] == 3000 + 250 * 16
    drawn = tradeoff.draw(of_bytes, 912).markup
    # Ticks from 1,500 to 3,500 over 46 to 890; F1 from 0.1 to 0.5 over 344 to 44.
    x, y = (lambda size: 46 + 844 * (size - 1500) / 2000), (lambda f1: 344 - 300 * (f1 - 0.1) / 0.4)
    path = " ".join(f"{x(size):.1f},{y(f1):.1f}" for size, f1 in ((1500, 0.1875), (2000, 0.25), (3000, 0.28125)))
    assert f'<polyline points="{path}" class="curve c0"/>' in drawn
    assert 'x1="763.4" y1="344" x2="763.4" y2="44" class="threshold"' in drawn  # 3,200 without compression
    assert ">ratio 2 (best)<" in drawn
    assert ">ratio 4 (baseline)<" in drawn


def test_an_arm_of_several_lines_is_on_all_of_them_and_has_one_mark():
    # Without LoRA its rate does nothing, so that arm begins the lines of both rates.
    (found,) = sizes.tradeoffs(rates())
    assert (found.groups, found.are_lines) == (["lora lr 0.001", "lora lr 0.002"], True)
    assert found.lines == [["base", *(f"r{rank}_{rate}" for rank in (4, 8, 16))] for rate in (0.001, 0.002)]
    assert [(p.name, p.label, p.group) for p in found.points][:2] == [
        ("base", "no LoRA", ""),
        ("r4_0.001", "rank 4", "lora lr 0.001"),
    ]
    drawn = tradeoff.draw(found, 912).markup
    # Ticks from 1,000 to 5,000 over 46 to 890; F1 0.25 to 0.5625, ticks from 0.2 to 0.6 over 344 to 44.
    x, y = (lambda size: 46 + 844 * (size - 1000) / 4000), (lambda f1: 344 - 300 * (f1 - 0.2) / 0.4)
    for colour, gain in ((0, 0.0), (1, 0.0625)):
        spots = [(1000, 0.25), *((1000 + 250 * rank, 0.25 + rank / 64 + gain) for rank in (4, 8, 16))]
        path = " ".join(f"{x(size):.1f},{y(f1):.1f}" for size, f1 in spots)
        assert f'<polyline points="{path}" class="curve c{colour}"' in drawn
    assert len(marks(drawn)) == 7
    assert re.findall(r'class="mark (?!key)([^"]*)"', drawn)[0] == "ink"  # the baseline's own, of neither line


def test_the_size_without_compression_is_a_line_only_where_the_sizes_reach_it():
    larger = with_sizes(study(), matrix_bytes_original=4000)
    assert sizes.tradeoffs(larger)[1].reference is None  # 3,000 is the most
    assert sizes.tradeoffs(study().model_copy(update={"bytes": None}))[1].reference is None


def test_bits_a_token_stand_by_their_logarithm_with_the_token_id_where_they_reach_it():
    # 18,432, 64 and 10 bits where the ratio is 2, 4 and 8; the id takes 16.
    bits = {2: 18432, 4: 64, 8: 10}
    analysis = with_each(
        study(), lambda found: {"code_bits": bits[found.settings["codec.ratio"]]} if found.kind == "arm" else {}
    )
    found = sizes.tradeoffs(analysis)[2]
    assert (found.key, found.axis, found.reference) == ("bits", "bits a token's code takes", ("token id", 16))
    assert found.groups == ["no LoRA", "rank 16"]
    assert [(p.name, p.label, p.size) for p in found.points if p.group][:2] == [
        ("ratio8", "ratio 8", 10),
        ("ratio8_lora", "ratio 8", 10),
    ]
    assert tradeoff.is_log(found)
    drawn = tradeoff.draw(found, 912).markup
    # From 10 to 100,000 over 46 to 890, 211 a power of ten: log10(64) is 1.80618, log10(16) 1.20412.
    assert {x for x, _ in marks(drawn)} == {46.0, 216.1, 735.0}  # log10(18432) is 4.26557
    assert '<line x1="89.1" y1="344" x2="89.1" y2="44" class="threshold"/>' in drawn
    # "token id" takes 52.8, and to the left of the line there are 43.1 up to the axis.
    assert '<text x="98.1" y="337" class="tick">token id</text>' in drawn
    assert "; token id: 16 bits." in tradeoff.describe(found)
    assert sizes.tradeoffs(study())[2].reference is None  # 1,152 to 4,608


def test_codes_of_different_kinds_are_told_apart_where_no_lines_join_most_arms():
    arms = [
        ("floats", 2304, {"codec.kind": "pca", "lora.rank": 0}),
        ("floats_lora", 2304, {"codec.kind": "pca", "lora.rank": 16}),
        ("rounded", 576, {"codec.kind": "quantized_pca", "lora.rank": 0}),
        ("books_lora", 72, {"codec.kind": "vq", "codec.vq.form": "residual", "lora.rank": 16}),
        ("book", 9, {"codec.kind": "vq", "codec.vq.form": "single", "lora.rank": 0}),
    ]
    analysis = with_rows(
        study(),
        (
            row(name, 0.25, code_bits=bits, params=1000, matrix_bytes=1000, settings=settings)
            for name, bits, settings in arms
        ),
    )
    (found,) = sizes.tradeoffs(analysis)
    assert (found.key, found.are_lines) == ("bits", False)
    assert found.groups == [
        *("pca, no LoRA", "pca, rank 16", "quantized_pca, no LoRA", "vq, residual, rank 16", "vq, single, no LoRA"),
    ]
    assert {point.name: (point.label, point.group) for point in found.points} == {
        "floats": ("floats", "pca, no LoRA"),
        "floats_lora": ("floats_lora", "pca, rank 16"),
        "rounded": ("rounded", "quantized_pca, no LoRA"),
        "books_lora": ("books_lora", "vq, residual, rank 16"),
        "book": ("book", "vq, single, no LoRA"),
    }
    # Ranks 0, 8 and 16 are a quantity, no kind.
    analysis = with_row(analysis, "book", settings={**arms[-1][2], "lora.rank": 8})
    assert sizes.tradeoffs(analysis)[0].groups == ["pca", "quantized_pca", "vq, residual", "vq, single"]


def test_without_different_codes_there_is_no_figure_of_bits():
    analysis = with_each(study(), lambda found: {"code_bits": 2304 if found.name == "start" else 1152})
    assert [found.key for found in sizes.tradeoffs(analysis)] == ["parameters", "bytes"]


def test_without_lines_arms_have_their_names_and_the_baseline_and_the_arm_chosen_their_own_marks():
    kept = ("start", "ce1", "plain", "ratio8", "ratio2_lora")  # no three that differ in the size alone
    found = sizes.tradeoffs(only(study(), *kept))[1]
    assert (found.groups, found.are_lines) == ([], False)
    assert {point.label for point in found.points} == set(kept)
    drawn = tradeoff.draw(found, 912).markup
    assert [css for _, css in re.findall(r"<(\w+)[^>]*class=\"mark (\w+)\"", drawn)] == [
        "soft",
        "ink",
        "soft",
        "soft",
        "best",
    ]
    assert "<polyline" not in drawn


def test_two_sizes_are_no_tradeoff():
    analysis = with_each(example(), lambda found: {"params": 2000 if found.rank else 1000})
    assert sizes.tradeoffs(analysis) == []


def test_labels_keep_clear_of_marks_lines_and_each_other_and_of_the_edges():
    limits = (0, 0, 200, 100)
    # Labels are 29.12 + 2 = 31.12 wide. Right of the mark first; there stands another mark for b, so to the left.
    marks_ = {"a": (50.0, 50.0), "b": (150.0, 20.0), "c": (185.0, 85.0)}
    taken = [*map(labels.of_mark, marks_.values()), *map(labels.of_mark, [(165.0, 20.0)])]
    wanted = [(name, 29.12, spot) for name, spot in marks_.items()]
    found = labels.placed(wanted, taken, limits)
    assert found["a"] == (60, 50)
    assert found["b"] == pytest.approx((150 - 31.12 - 9, 20))
    assert found["c"] == pytest.approx((185 - 31.12 - 9, 85))  # 185 + 10 + 31.12 is beyond 200
    along = labels.of_line([(50, 50), (200, 50)])  # to the right lies a line now
    assert labels.placed(wanted[:1], [*taken, *along], limits)["a"] == pytest.approx((50 - 31.12 - 9, 50))
    assert labels.placed(wanted[:1], [(0, 0, 200, 100)], limits) == {}


def test_series_beyond_the_palette_differ_in_shape_and_dash():
    looks = [palette.look(number) for number in range(12)]
    assert looks[:2] == [(0, "circle", ""), (1, "square", "7 3")]
    assert looks[6] == (0, "square", "7 3")  # the first colour again, with the second's shape and dash
    assert len(set(looks)) == 12
    keys, height = axes.legend(["abcd"] * 3, 120)
    # A key takes 31.46 + 12 + 22 = 65.5: one fits from 6 on, the next would end at 71.5 + 43.5 = 115.
    assert height == 20
    assert re.findall(r'data-x="([^"]+)" data-y="([^"]+)"', keys) == [("6", "7.5"), ("71.5", "7.5"), ("6", "27.5")]


def test_the_grid_averages_nothing():
    cells = grid_cells(example())
    assert [(cell.rank, cell.layers, [arm[:2] for arm in cell.arms]) for cell in cells] == [
        (4, "8 layers", [(8.0, 0.28125)]),
        (8, "12 layers", [(8.0, 0.3125), (32.0, 0.328125)]),
        (16, "all 30 layers", [(32.0, 0.375)]),
    ]
    drawn = grid.draw(cells, "F1", 400).markup
    assert re.findall(r'fill-opacity="([^"]+)"', drawn) == [
        "0.08",
        "0.22",
        "0.29",
        "0.50",
    ]  # 0.08 + 0.42 x 0, 1/3, 1/2, 1
    assert drawn.count('class="empty"') == 6  # 3 ranks x 3 settings - 3


def test_the_grid_is_for_arms_that_differ_in_lora_alone():
    settings = example().rows[2].settings
    changed = with_row(example(), "r8_a8_layers12", settings={**settings, "codec.ratio": 8.0})
    assert grid_cells(changed) == []
    assert grid_cells(study()) == []  # one rank on the same layers


@pytest.mark.parametrize(("path", "others"), [("lora.targets", "q_proj, v_proj"), ("lora.dropout", 0.1)])
def test_the_grid_and_its_groups_are_not_for_arms_whose_lora_differs_in_more_than_they_show(path, others):
    def change(found):
        value = others if found.name == "r8_a32_layers12" else "all-linear"
        return {"settings": {**found.settings, path: value}} if found.rank else {}

    analysis = with_each(example(), change)
    assert not rows.differ_in_lora_alone(rows.arms(analysis))
    assert grid_cells(analysis) == []
    assert [size.groups for size in sizes.tradeoffs(analysis)] == [[]]


def test_training_curves_keep_their_values_and_long_ones_are_means():
    panels = {panel.metric: panel for panel in curve_data.panels(series())}
    assert dict(panels["ce"].lines)["baseline"][:2] == [(1, 4), (2, 2)]
    assert [name for name, _ in panels["grad_norm_lora"].lines] == ["r4_a8_layers8", "r16_a32_full"]  # others have none
    assert curve_data.thinned([(1, 2.0), (2, 4.0), (3, 9.0)], 2) == [(1.5, 3.0), (3, 9)]
    long = {"training": {"a": {"step": list(range(1, 1001)), "loss": [1.0] * 1000}}}
    (panel,) = curve_data.panels(long)
    assert panel.steps_per_point == 7  # 1000 / 160, up
    assert len(panel.lines[0][1]) == 143  # 1000 / 7, up


def test_a_curve_is_drawn_where_its_values_are():
    panel = next(panel for panel in curve_data.panels(series()) if panel.metric == "grad_norm_adapter")
    drawn = curves.draw(panel, ["baseline", "r4_a8_layers8", "r16_a32_full"], {"baseline": "on base"}, 400).markup
    points = re.findall(r'<polyline points="([^"]+)" class="run ([^"]*)" data-arm="(\d)"', drawn)
    assert [(css, number) for _, css, number in points] == [("", "1"), ("", "2"), ("on base", "0")]  # marked ones last
    # Steps 1 to 8 of an axis from 0 to 8 over 52 to 390; all values 0.5, of ticks from 0.2 to 0.8: the middle.
    assert points[0][0].split()[0] == "94.2,118.0"
    assert points[0][0].split()[-1] == "390.0,118.0"


def test_a_curve_of_one_step_is_a_dot_that_the_buttons_find():
    one = {"training": {"a": {"step": [1], "loss": [2.0]}, "b": {"step": [1, 2], "loss": [2.0, 3.0]}}}
    (panel,) = curve_data.panels(one)
    drawn = curves.draw(panel, ["a", "b"], {"a": "on base"}, 400).markup
    # Step 1 of an axis from 0 to 2 over 52 to 390: the middle. The loss of 2 is the axis's lower end.
    assert '<g class="run on base" data-arm="0"><circle cx="221" cy="206" ' in drawn
    assert drawn.count("<polyline") == 1


@pytest.mark.parametrize(
    ("inputs", "title"),
    [
        (("adapter", "adapter", "adapter"), "Gradient norm, adapter"),
        (("blocks", "blocks", "blocks"), "Gradient norm, encoder of blocks"),
        (("adapter", "blocks", "adapter"), "Gradient norm, adapter or encoder of blocks"),
    ],
)
def test_the_gradient_norm_is_named_after_what_the_arms_have(inputs, title):
    named = dict(zip(("baseline", "r4_a8_layers8", "r16_a32_full"), inputs, strict=True))
    analysis = with_each(example(), lambda found: {"input": named.get(found.name, found.input)})
    titles = {figure.name: figure.title for figure in curves.figures(analysis, series())}
    assert titles["training_grad_norm_adapter"] == title
    assert titles["training_grad_norm_lora"] == "Gradient norm, LoRA"


def test_bits_are_placed_by_their_logarithm_and_larger_ones_are_told_apart():
    drawn = wire.draw(wire_forms(example()), 400).markup
    left = text_width("UTF-8 text") + 16
    at = lambda bits: left + (342 - left) * (math.log10(bits) - 1) / 3  # noqa: E731 - from 10 to 10,000
    assert [x for x, _ in marks(drawn)] == [round(at(bits), 1) for bits in (2304, 34.5, 16)]
    assert re.findall(r'class="mark (c\d)"', drawn) == ["c1", "c1", "c0"]
    assert wire.describe(wire_forms(example())[:1]) == "bf16 code: 2,304 bits, more than the token id."


def test_reconstruction_has_both_cosines_and_the_share_of_each_bucket():
    drawn = frequency.draw(buckets(series()), 400).markup
    y = [y for _, y in marks(drawn)]
    # Below two rows of keys, cosines from 0.7 (246) to 1 (70): three of the codec alone, then three with the adapter.
    cosines = (0.75, 0.875, 0.9375, 0.875, 0.9375, 0.984375)
    low = axes.nice_ticks(0.75, 1.0, 4)[0]
    assert y == [round(246 - 176 * (value - low) / (1 - low), 1) for value in cosines]
    assert "12 %" in drawn or "13 %" in drawn


def test_a_bucket_without_a_figure_is_left_out():
    measured = series()
    measured["frequency"][0]["linear_cosine"] = None
    found = buckets(measured)
    assert len(marks(frequency.draw(found, 400).markup)) == 5
