import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_analysis import interaction
from sweep_folder import failed, record, write_run
from thinwire.errors import UsageError
from thinwire.report import interaction_words
from thinwire.report.analysis import analyse
from thinwire.report.analysis_record import Gain
from thinwire.results.interactions import Interaction
from thinwire.results.read import read_results
from thinwire.schema import build
from thinwire.stats.contrasts import compare_contrasts
from thinwire.stats.pairing import Run

LORA, CODES = "r16_a32_full", "baseline"
ASKED = {"arm": LORA, "baseline": CODES, "reference_arm": "whole_lora", "reference_baseline": "whole"}
WHOLE = {"whole": "RHHWRHHWRHHWRHHW", "whole_lora": "RRRRRRRRRRRRRRHW"}  # 8/16 and 14.5/16


def whole(name, like, width=576, **changes):
    """A control that is made as ``like`` is, with codes of ``width`` numbers."""
    one = record(like, **changes)
    codec = one.done.codec.model_copy(update={"code_width": width})
    results = one.done.model_copy(update={"codec": codec})
    return one.model_copy(update={"name": name, "arm": name, "kind": "control", "results": results})


def analysis_of(tmp_path, records, answers=None, **asked):
    return analyse(read_results(write_run(tmp_path / "run", records, answers or WHOLE, interactions=asked)))


def four():
    return [record(CODES), record(LORA), whole("whole", CODES), whole("whole_lora", LORA)]


def test_an_interaction_whose_members_have_no_results_is_noted_with_their_names(tmp_path):
    analysis = analysis_of(tmp_path, four()[:3], own=ASKED)
    assert analysis.interactions == ()
    note = "interaction own is left out, because it needs arms or controls without results: whole_lora"
    assert note in analysis.notes
    assert not [one for one in analysis_of(tmp_path / "all", four(), own=ASKED).notes if "interaction" in one]


def test_an_interaction_is_the_difference_of_two_gains(tmp_path):
    analysis = analysis_of(tmp_path, four(), own=ASKED)
    (found,) = analysis.interactions
    # 11/16 - 6/16 and 14.5/16 - 8/16
    assert (found.gain.estimate, found.reference_gain.estimate) == (5 / 16, 6.5 / 16)
    assert found.difference.estimate == pytest.approx(-1.5 / 16)
    assert found.difference.low < -1.5 / 16 < found.difference.high
    assert (found.name, found.arm, found.of_compression) == ("own", LORA, True)
    difference = next(row.score_difference for row in analysis.rows if row.name == LORA)
    assert (found.gain.low, found.gain.high) == (difference.low, difference.high)


def test_all_interactions_are_one_family(tmp_path):
    other = {**ASKED, "arm": "r4_a8_layers8"}
    records = [*four(), record("r4_a8_layers8")]
    analysis = analysis_of(tmp_path, records, own=ASKED, other=other)
    results = read_results(tmp_path / "run")
    runs = {name: [Run.of_rows(one.predictions) for one in found] for name, found in results.groups.items()}
    weights = {name: Interaction(**one).weights for name, one in (("own", ASKED), ("other", other))}
    expected = compare_contrasts(runs, weights, num_resamples=1000).contrasts
    assert [one.name for one in analysis.interactions] == ["own", "other"]
    for one in analysis.interactions:
        interval = expected[one.name].simultaneous
        assert (one.difference.low, one.difference.high) == (interval.low, interval.high)
        assert one.p_adjusted == expected[one.name].adjusted_p_value


def test_a_baseline_that_both_gains_share_has_no_weight(tmp_path):
    shared = {"arm": LORA, "baseline": CODES, "reference_arm": "r4_a8_layers8", "reference_baseline": CODES}
    assert Interaction(**shared).weights == {LORA: 1, CODES: 0, "r4_a8_layers8": -1}
    records = [record(CODES), record(LORA), record("r4_a8_layers8")]
    (found,) = analysis_of(tmp_path, records, shared=shared).interactions
    assert found.difference.estimate == pytest.approx((11 - 6.5) / 16)
    assert not found.of_compression


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"baseline": LORA}, f"{LORA!r} has no gain over itself"),
        ({"reference_arm": LORA, "reference_baseline": CODES}, "the two gains are the same"),
    ],
)
def test_an_interaction_that_is_always_nothing_is_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        build(Interaction, {**ASKED, **changes}, where="interactions.own")


def test_an_interaction_without_all_four_is_left_out_and_the_gain_counts_as_not_measured(tmp_path):
    records = [record(CODES), record(LORA), whole("whole", CODES), failed("whole_lora", kind="control")]
    analysis = analysis_of(tmp_path, records, own=ASKED)
    assert analysis.interactions == ()
    assert analysis.verdict.headline == "LoRA gains: strong; gain on uncompressed input not measured (one seed)"


def test_seeds_of_all_four_are_averaged(tmp_path):
    again = whole("whole_lora", LORA).model_copy(update={"name": "whole_lora-seed1"})
    answers = {**WHOLE, "whole_lora-seed1": "R" * 16}
    (found,) = analysis_of(tmp_path, [*four(), again], answers, own=ASKED).interactions
    assert found.reference_gain.estimate == pytest.approx((14.5 + 16) / 2 / 16 - 8 / 16)


@pytest.mark.parametrize(
    "records",
    [
        [record(CODES), record(LORA), whole("whole", CODES), whole("whole_lora", LORA, config={"lora": {"alpha": 64}})],
        [record(CODES), record(LORA), whole("whole", CODES, 288), whole("whole_lora", LORA, 288)],
        [record(CODES), record(LORA), whole("whole", CODES, config={"seed": 1}), whole("whole_lora", LORA)],
    ],
    ids=["another LoRA", "compressed too", "another seed"],
)
def test_words_of_compression_need_the_same_lora_on_uncompressed_input(tmp_path, records):
    analysis = analysis_of(tmp_path, records, own=ASKED)
    assert [one.of_compression for one in analysis.interactions] == [False]
    assert f"The gain of {LORA} over {CODES} is +31.2 points" in analysis.verdict.sentence
    assert analysis.verdict.headline.endswith("gain on uncompressed input not measured (one seed)")


def test_an_arm_that_reads_uncompressed_codes_has_nothing_left_to_measure(tmp_path):
    records = [whole(name, name).model_copy(update={"kind": "arm"}) for name in (CODES, LORA)]
    assert analysis_of(tmp_path, records).verdict.headline == "LoRA gains: strong (one seed)"


# Words


GAIN, SMALLER, SAME, LOSS = (0.16, 0.14, 0.18), (0.10, 0.08, 0.12), (0.162, 0.14, 0.18), (-0.01, -0.03, 0.01)


@pytest.mark.parametrize(
    ("gain", "reference", "headline", "sentence"),
    [
        (
            GAIN,
            SMALLER,
            "a larger gain on compressed (+16.0 points) than on uncompressed input (+10.0)",
            "LoRA's gain is 6.0 points larger on compressed input than on uncompressed input (5.5 to 6.5): +16.0 "
            "against +10.0 (a over baseline, uncompressed_lora over uncompressed).",
        ),
        (
            SMALLER,
            GAIN,
            "a smaller gain on compressed (+10.0 points) than on uncompressed input (+16.0)",
            "LoRA's gain is 6.0 points smaller on compressed input than on uncompressed input (5.5 to 6.5): +10.0 "
            "against +16.0 (a over baseline, uncompressed_lora over uncompressed).",
        ),
        (
            GAIN,
            SAME,
            "+16.0 points on compressed, +16.2 on uncompressed input, no difference shown",
            "LoRA's gain on compressed input (a over baseline) is +16.0 points (+14.0 to +18.0), on uncompressed input "
            "(uncompressed_lora over uncompressed) +16.2 points (+14.0 to +18.0); the difference of the two is -0.2 "
            "(-0.7 to +0.3), an interval that includes 0: at most 0.3 points of the gain are specific to compressed "
            "input.",
        ),
        (
            (0.02, 0.001, 0.04),
            (0.018, -0.01, 0.04),
            "+2.0 points on compressed, +1.8 on uncompressed input, no difference shown",
            "",
        ),
        (
            (-0.01, -0.03, 0.01),
            (-0.012, -0.03, 0.01),
            "",
            "LoRA's gain on compressed input (a over baseline) is -1.0 points (-3.0 to +1.0), on uncompressed",
        ),
    ],
)
def test_an_interaction_says_as_much_as_its_interval(gain, reference, headline, sentence):
    found = interaction("a", gain, reference)
    said = interaction_words.headline(found, "a", about_lora=True)
    assert said.startswith(headline)
    assert bool(said) is bool(headline)
    assert interaction_words.sentence(found).startswith(sentence)


@pytest.mark.parametrize(
    ("gain", "high", "of_compression", "said"),
    [
        (GAIN, 0.022, True, True),
        (GAIN, 0.022, False, False),
        (GAIN, 0.0, True, False),
        (GAIN, 0.17, True, False),  # more than there is
        ((0.16, -0.02, 0.18), 0.022, True, False),  # it may be no gain
    ],
)
def test_the_most_that_is_specific_to_compressed_input_is_part_of_a_gain(gain, high, of_compression, said):
    difference = Gain(estimate=0.01, low=-0.01, high=high)
    found = interaction("a", gain, SMALLER, difference=difference, of_compression=of_compression)
    most = f"includes 0: at most {100 * high:.1f} points of the gain are specific to compressed input."
    assert interaction_words.sentence(found).endswith(most) is said
    assert interaction_words.sentence(found).endswith("an interval that includes 0.") is not said


def test_a_gain_that_the_verdict_has_said_is_not_said_again():
    found = interaction("a", GAIN, SAME)
    assert interaction_words.sentence(found, ("a", "baseline")).startswith(
        "LoRA's gain on uncompressed input (uncompressed_lora over uncompressed) is +16.2 points (+14.0 to +18.0); "
    )
    for other in (("a", "uncompressed"), ("b", "baseline"), None):
        assert "on compressed input (a over baseline) is +16.0" in interaction_words.sentence(found, other)


def test_numbers_in_words_are_of_unrounded_values():
    # 15.96 and 10.04 are 16.0 and 10.0, but 5.92 apart.
    found = interaction("a", (0.1596, 0.14, 0.18), (0.1004, 0.08, 0.12))
    assert interaction_words.sentence(found).startswith("LoRA's gain is 5.9 points larger")


def test_the_arm_that_is_meant_is_named_where_it_is_not_the_judged_one():
    found = interaction("a", GAIN, SMALLER)
    assert interaction_words.headline(found, "b", about_lora=True).endswith("uncompressed input (+10.0) (a)")
    assert interaction_words.headline(found, "b", about_lora=False).startswith("LoRA: a larger gain on")
    same = interaction("a", GAIN, SAME)
    assert interaction_words.headline(same, "a", about_lora=False).startswith("LoRA: +16.0 points on compressed")
    first, own = interaction("a", GAIN, SMALLER), interaction("b", GAIN, SMALLER)
    assert interaction_words.judged_interactions([first, own], "b") == [own]
    assert interaction_words.judged_interactions([first, own], "c") == [first, own]
    assert interaction_words.judged_interactions([], "c") == []


def said_of(*found, about_lora=True):
    headline = interaction_words.headline_of_all(found, "judged", about_lora=about_lora)
    return headline, interaction_words.sentences_of_all(found, ("judged", "baseline"))


def test_of_several_interactions_none_that_is_resolved_is_hidden():
    same, smaller, larger = (
        interaction("a", GAIN, SAME),
        interaction("b", SMALLER, GAIN),
        interaction("c", GAIN, SMALLER),
    )
    assert said_of() == ("", "")
    assert said_of(same) == (
        interaction_words.headline(same, "judged", about_lora=True),
        interaction_words.sentence(same, ("judged", "baseline")),
    )
    assert said_of(same, smaller, larger)[0] == (
        "+10.0 to +16.0 points on compressed, +10.0 to +16.2 on uncompressed input; larger for c; smaller for b; "
        "no difference shown for the others"
    )
    assert said_of(same, same, about_lora=False)[0] == (
        "LoRA: +16.0 points on compressed, +16.2 on uncompressed input; no difference shown for any of 2 arms"
    )
    assert said_of(smaller, larger)[0].endswith("; larger for c; smaller for b")
    other = interaction("d", GAIN, SMALLER, of_compression=False)
    assert said_of(same, other)[0].startswith(
        "gains of +16.0 points, of their references +10.0 to +16.2; larger for d;"
    )
    nothing = interaction("e", (0.0, -0.01, 0.01), (0.0, -0.01, 0.01))
    assert said_of(nothing, nothing)[0] == ""


def test_of_several_interactions_each_has_its_number():
    same, smaller = interaction("a", GAIN, SAME), interaction("b", SMALLER, SAME)
    assert said_of(same, smaller)[1] == (
        "LoRA's gain on compressed input less that of its reference (uncompressed_lora over uncompressed: +16.2 points "
        "(+14.0 to +18.0)) is: a -0.2 (-0.7 to +0.3); b -6.2 (-6.7 to -5.7)."
    )


def test_other_interactions_name_their_arms():
    found = interaction("a", GAIN, SMALLER, of_compression=False)
    assert interaction_words.headline(found, "a", about_lora=True) == (
        "the gain of a (+16.0 points) is larger than that of uncompressed_lora (+10.0)"
    )
    assert interaction_words.sentence(found) == (
        "The gain of a over baseline is 6.0 points larger than that of uncompressed_lora over uncompressed (5.5 to "
        "6.5): +16.0 against +10.0."
    )
    same = interaction("a", GAIN, SAME, of_compression=False)
    assert interaction_words.headline(same, "a", about_lora=True) == (
        "the gain of a (+16.0 points) is not shown to differ from that of uncompressed_lora (+16.2)"
    )


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.001, 0.5), st.floats(0.001, 0.5), st.booleans())
@settings(derandomize=True, deadline=None)
def test_a_gain_is_larger_or_smaller_only_where_the_interval_leaves_out_0(
    gain, reference, below, above, of_compression
):
    ends = (gain, gain - 0.1, gain + 0.1), (reference, reference - 0.1, reference + 0.1)
    estimate = gain - reference
    difference = Gain(estimate=estimate, low=estimate - below, high=estimate + above)
    found = interaction("a", *ends, difference=difference, of_compression=of_compression)
    said = interaction_words.headline(found, "a", about_lora=True) + interaction_words.sentence(found)
    assert ("larger" in said) is (estimate - below > 0)
    assert ("smaller" in said) is (estimate + above < 0)
    assert ("includes 0" in said) is (estimate - below <= 0 <= estimate + above)


@pytest.mark.parametrize("ends", [(None, None), (0.06, 0.06)])
def test_without_an_interval_nothing_is_larger(ends):
    difference = Gain(estimate=0.06, low=ends[0], high=ends[1])
    found = interaction("a", GAIN, SMALLER, difference=difference, reason="8 questions about one paragraph")
    assert difference.sign == 0
    assert interaction_words.headline(found, "a", about_lora=True).endswith("no difference shown")
    if ends[0] is None:
        assert interaction_words.sentence(found).endswith(
            "is +6.0, without an interval; 8 questions about one paragraph."
        )
