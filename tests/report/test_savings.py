"""What fewer positions save: its numbers, where they are shown, its figures, and the words for gains on positions."""

import json
import re

import pytest

from block_runs import ANSWERS, INTERACTIONS, block_record, block_records
from small_analysis import example, interaction, series
from sweep_folder import record as made
from sweep_folder import write_run
from thinwire.report import interaction_words, savings_table
from thinwire.report.analysis import analyse
from thinwire.report.figures import gains, savings, tradeoff
from thinwire.report.figures.data.savings import curves_of_savings
from thinwire.report.html import page
from thinwire.report.markdown import report_section, results_section
from thinwire.report.markdown.sweep_record import read_sweep_record, write_sweep_record
from thinwire.report.summary import summary_text
from thinwire.report.write import write_reports
from thinwire.results.arm_record import PromptSizes, TextReconstruction
from thinwire.results.read import read_results
from thinwire.tasks.table import TASKS


def run_of(tmp_path, records, **changes):
    changes = {"baseline": "k2", "interactions": INTERACTIONS, **changes}
    return write_run(tmp_path / "run", records, ANSWERS, **changes)


@pytest.fixture
def run(tmp_path):
    return run_of(tmp_path, block_records())


@pytest.fixture
def analysis(run):
    return analyse(read_results(run))


def costs_of(analysis):
    return {row.name: row.prompt_costs for row in analysis.rows}


def test_the_costs_of_a_prompt_are_worked_out_by_hand(analysis):
    k4, text = costs_of(analysis)["k4_lora"], costs_of(analysis)["text_lora"]
    assert (k4.tokens, k4.positions, text.positions) == (340, 115, 340)
    # 2 x 1,000 weights a position; 115 x 116 / 2 pairs, of 4 x 4 FLOPs in each of 2 x 3 heads.
    assert k4.prefill_flops == 2 * 1000 * 115 + (115 * 116 / 2) * 16 * 6
    assert k4.cache_bytes == 2 * 2 * 1 * 4 * 2 * 115
    assert (k4.encoder_flops, text.encoder_flops) == (1.5e6, 0)
    assert (k4.seconds, text.seconds) == (1.5, 4.0)  # the embeddings of its blocks counted
    assert k4.questions_per_second == pytest.approx(16 / 1.5)
    assert (k4.block_size, k4.encoder, text.block_size, text.encoder) == (4, "mlp", None, None)


def test_every_rendering_has_a_row_for_each_arm_and_control(run):
    analysis = write_reports(read_results(run))
    stored = json.loads((run / "analysis.json").read_text())
    assert {row["name"] for row in stored["rows"] if row["prompt_costs"]["positions"]} == set(ANSWERS)
    for name in ("report.md", "sweep_summary.txt", "report.html"):
        text = (run / name).read_text()
        assert text.count("What fewer positions save") == 1, name
    cells = savings_table.cells(analysis)
    assert {row[0] for row in cells[1:]} == set(ANSWERS)
    assert cells[1] == ["text_lora", "96.9", "340", "340", "0.00625", "0", "0.0109", "4", "4"]
    written = report_section.section(analysis)
    assert "| text_lora | 96.9 | 340 | 340 | 0.00625 | 0 | 0.0109 | 4 | 4 |" in written
    assert "blocks of 2 tokens, LoRA r16, all layers" in results_section.short_section(analysis)
    assert max(map(len, summary_text(run, analysis).splitlines())) <= 100


def test_shortened_contexts_save_positions_too(tmp_path):
    """Of a context of 300 tokens in a prompt of 340, half is kept."""
    half = block_record("text_lora", prompts=PromptSizes(tokens=190, positions=190, squared_positions=190**2))
    half = half.model_copy(
        update={"config": {**half.config, "prompt": {**half.config["prompt"], "context_share": 0.5}}}
    )
    records = [made("baseline"), block_record("text_zero_shot"), half]
    found = costs_of(analyse(read_results(write_run(tmp_path / "run", records, ANSWERS))))
    assert found["text_lora"].positions == 190
    assert found["text_zero_shot"].positions == 340
    alone = half.model_copy(update={"config": {**half.config, "context": False}})
    found = costs_of(analyse(read_results(write_run(tmp_path / "alone", [*records[:2], alone], ANSWERS))))
    assert set(found.values()) == {None}, "there is no context to be shortened"


def test_a_sweep_without_blocks_has_none_of_it(tmp_path):
    analysis = analyse(read_results(write_run(tmp_path / "run")))
    assert {row.prompt_costs for row in analysis.rows} == {None}
    assert savings_table.cells(analysis) == []
    assert savings.figures(analysis) == []
    assert "fewer positions" not in page.render(analysis, None)
    assert "fewer positions" not in report_section.section(analysis) + summary_text(tmp_path / "run", analysis)
    assert "block_size" not in analysis.model_dump_json(exclude_unset=True)


def test_what_earlier_records_lack_is_missing_and_not_zero(tmp_path):
    sizes = block_record("k2").done.prompts.model_copy(update={"squared_positions": None, "encoder_flops": None})
    old = block_record("k2", prompts=sizes, model_shape=None, seconds_embeddings=None)
    none = block_record("text_zero_shot", prompts=None)
    analysis = analyse(read_results(run_of(tmp_path, [old, block_record("k2_lora"), none], interactions={})))
    found = costs_of(analysis)
    assert found["text_zero_shot"] is None
    assert (found["k2"].positions, found["k2"].tokens) == (190, 340)
    missing = ("prefill_flops", "encoder_flops", "cache_bytes", "seconds", "questions_per_second")
    assert {name: getattr(found["k2"], name) for name in missing} == dict.fromkeys(missing)
    assert "| k2 | 37.5 | 340 | 190 |  |  |  |  |  |" in report_section.section(analysis)
    assert 'data-key="prompt_costs.seconds">\u2013' in page.render(analysis, None)


def test_seeds_are_averaged_in_seconds(tmp_path):
    again = block_record("k2_lora", seconds_test=3.0).model_copy(update={"name": "k2_lora-seed1"})
    path = write_run(
        tmp_path / "run",
        [*block_records("k2", "k2_lora"), again],
        {**ANSWERS, "k2_lora-seed1": ANSWERS["k2_lora"]},
        baseline="k2",
    )
    assert costs_of(analyse(read_results(path)))["k2_lora"].seconds == 3.0  # of 2.5 and 3.5


def test_curves_join_what_the_same_encoder_reads_in_blocks_of_other_sizes(analysis):
    positions, speed = curves_of_savings(analysis)
    assert positions.groups == ["blocks (mlp), no LoRA", "blocks (mlp), LoRA r16", "text, LoRA r16", "text, no LoRA"]
    assert positions.lines == [["k4", "k2", "k1"], ["k4_lora", "k2_lora", "k1_lora"], [], []]
    assert [line[::-1] for line in speed.lines[:2]] == positions.lines[:2]
    for curve in (positions, speed):
        assert {point.name: point.label for point in curve.points} == {name: name for name in ANSWERS}
    assert positions.ceiling == 15.5 / 16
    drawn = [found.draw(912) for found in savings.figures(analysis)]
    assert "k4: 115 positions, F1 " in drawn[0].words
    assert "text_lora: 4 questions/s, F1 96.9" in drawn[1].words


def test_arms_that_differ_in_more_than_their_blocks_are_not_joined(analysis):
    (row,) = (row for row in analysis.rows if row.name == "k4_lora")
    other = row.model_copy(update={"settings": {**row.settings, "training.epochs": 9}})
    rows = tuple(other if one.name == "k4_lora" else one for one in analysis.rows)
    for found in curves_of_savings(analysis.model_copy(update={"rows": rows})):
        assert found.lines == []
        assert {point.label for point in found.points} == set(ANSWERS)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("wide", "wide, k=4"),
        ("wide_k4", "wide_k4"),
        ("K4", "K4"),
        ("k42", "k42, k=4"),
        ("rank4", "rank4, k=4"),
        ("topk4", "topk4, k=4"),
    ],
)
def test_a_label_says_the_size_of_blocks_where_the_name_does_not(analysis, name, label):
    rows = tuple(row.model_copy(update={"name": name}) if row.name == "k4" else row for row in analysis.rows)
    for found in curves_of_savings(analysis.model_copy(update={"rows": rows})):
        assert [point.label for point in found.points if point.name == name] == [label]


def with_equal_scores(analysis, *names):
    (score,) = (row.score for row in analysis.rows if row.name == names[0])
    rows = tuple(row.model_copy(update={"score": score}) if row.name in names else row for row in analysis.rows)
    return analysis.model_copy(update={"rows": rows})


def sizes_of_unfilled(markup):
    """Radii of unfilled circles, and half the widths of other unfilled marks, in the order drawn."""
    circles = re.findall(r'<circle [^>]*r="([^"]+)" class="curve ', markup)
    others = re.findall(r'<polygon points="([^"]+)" class="curve ', markup)
    across = [[float(spot.split(",")[0]) for spot in steps.split()] for steps in others]
    return [*map(float, circles), *(round((max(xs) - min(xs)) / 2, 1) for xs in across)]


@pytest.mark.parametrize("width", [912, 342])
def test_arms_at_the_same_place_have_nested_marks_and_all_labels(analysis, width):
    positions, _ = savings.figures(analysis)
    assert sizes_of_unfilled(positions.draw(width).markup) == []
    positions, speed = savings.figures(with_equal_scores(analysis, "k2", "k2_lora"))
    for figure in (positions, speed):  # both take 2.5 seconds
        markup = figure.draw(width).markup
        # The circle of k2 is the outer one; within it the square of k2_lora, of size 4: 0.92 x 4 = 3.7.
        assert sizes_of_unfilled(markup) == pytest.approx([8, 3.7], abs=0.15)
        assert len(re.findall(r'class="mark c\d" data', markup)) == len(ANSWERS) - 2, "the others stay filled"
        assert ">k2 (best)<" in markup
        assert ">k2_lora<" in markup


def test_three_arms_at_the_same_place_on_the_ceiling_are_all_labelled(tmp_path):
    """As where nothing was learned: all scores are 0, and the ceiling's line takes the sides of the marks."""
    records = [block_record(name) for name in ("k2", "k2_lora", "k4", "text_lora")]
    wide = block_record("k2").model_copy(update={"name": "wide", "arm": "wide"})
    answers = dict.fromkeys((*ANSWERS, "wide"), "W" * 16)
    path = write_run(tmp_path / "run", [*records, wide], answers, baseline="k2")
    figure, _ = savings.figures(analyse(read_results(path)))
    markup = figure.draw(912).markup
    assert [label for label in ("k2_lora", "wide, k=2", "k4", "text_lora") if f">{label}<" not in markup] == []
    assert re.search(r">k2 \((best|baseline)\)<", markup)
    assert len(sizes_of_unfilled(markup)) == 3


CAVEAT = "Questions/s also depends on how long the answers are"


def test_the_rate_is_said_to_depend_on_the_length_of_answers(run):
    analysis = write_reports(read_results(run))
    assert (run / "report.md").read_text().count(CAVEAT) == 1
    assert " ".join((run / "sweep_summary.txt").read_text().split()).count(CAVEAT) == 1
    shown = re.sub(r'aria-label="[^"]*"', "", (run / "report.html").read_text())
    assert shown.count(CAVEAT) == 2, "with the figure and with the table"
    positions, speed = savings.figures(analysis)
    assert (CAVEAT in positions.caption, CAVEAT in speed.caption) == (False, True)


def test_tasks_whose_answers_are_not_decoded_have_no_length_to_be_said():
    assert CAVEAT in savings_table.legend(TASKS["generation"])
    assert CAVEAT not in savings_table.legend(TASKS["multiple_choice"])
    assert CAVEAT not in savings_table.legend(TASKS["perplexity"])


def test_arms_that_take_the_same_have_no_curve(tmp_path):
    records = [block_record(name, seconds_test=1.0, seconds_embeddings=0.0) for name in ("k2", "k2_lora")]
    assert savings.figures(analyse(read_results(run_of(tmp_path, records, interactions={})))) == []
    assert tradeoff.figures(example()) != []


# Words


def test_the_verdict_of_blocks_speaks_of_positions(analysis):
    assert [one.block_size for one in analysis.interactions] == [2, 4]
    said = f"{analysis.verdict.headline} {analysis.verdict.sentence}"
    assert "half of the positions" in said or "quarter of the positions" in said
    written = page.render(analysis, None) + report_section.section(analysis) + results_section.section(analysis)
    assert "compressed input" not in said + written
    assert "where every token has its own" in gains.figure(analysis).title


def test_without_the_reference_the_gain_on_own_positions_is_said_to_be_missing(tmp_path):
    path = run_of(tmp_path, block_records("k2", "k2_lora"), interactions={})
    verdict = analyse(read_results(path)).verdict
    assert "LoRA's gain where every token has its own position was not measured." in verdict.sentence
    assert "compressed" not in verdict.headline


@pytest.mark.parametrize(
    ("size", "share"), [(2, "half"), (3, "a third"), (4, "a quarter"), (8, "an eighth"), (7, "1/7")]
)
def test_blocks_are_a_share_of_the_positions(size, share):
    found = interaction("a", (0.16, 0.14, 0.18), (0.10, 0.08, 0.12), block_size=size)
    assert interaction_words.headline(found, "a", about_lora=True) == (
        f"a larger gain on contexts in {share} of the positions (+16.0 points) than where every token has its own "
        "(+10.0)"
    )
    assert interaction_words.sentence(found).startswith(
        f"LoRA's gain is 6.0 points larger on contexts in {share} of the positions than where every token has its own "
        "(5.5 to 6.5): +16.0 against +10.0"
    )


def test_a_difference_that_is_not_shown_says_both_gains():
    found = interaction("a", (0.16, 0.14, 0.18), (0.162, 0.14, 0.18), block_size=2)
    assert interaction_words.headline(found, "a", about_lora=True) == (
        "+16.0 points on contexts in half of the positions, +16.2 where every token has its own, no difference shown"
    )
    said = interaction_words.sentence(found)
    assert said.startswith("LoRA's gain on contexts in half of the positions (a over baseline) is +16.0 points")
    assert "where every token has its own (uncompressed_lora over uncompressed) +16.2 points" in said
    assert said.endswith("at most 0.3 points of the gain are specific to fewer positions.")
    judged = interaction_words.sentence(found, ("a", "baseline"))
    assert judged.startswith("LoRA's gain where every token has its own position (uncompressed_lora over")


def test_several_sizes_are_fewer_positions_and_codes_beside_blocks_are_compressed_input():
    two, four, codes = (
        interaction(name, (0.16, 0.14, 0.18), (0.162, 0.14, 0.18), **({"block_size": size} if size else {}))
        for name, size in (("k2", 2), ("k4", 4), ("pca", None))
    )
    head = "+16.0 points on contexts in fewer positions, +16.2 where every token has its own; "
    assert interaction_words.headline_of_all([two, four], "x", about_lora=True).startswith(head)
    sentence = interaction_words.sentences_of_all([two, four], ("x", "y"))
    assert sentence.startswith("LoRA's gain on contexts in fewer positions less that of its reference (")
    mixed = interaction_words.headline_of_all([two, codes], "x", about_lora=True)
    assert mixed.startswith("+16.0 points on compressed, +16.2 on uncompressed input; ")


def test_the_first_screen_says_positions_and_tokens(analysis):
    written = page.render(analysis, series())
    assert "positions for 340 tokens of a prompt" in written
    assert 'id="bytes"' not in written


def test_a_sweep_of_blocks_misses_no_control_of_codecs(analysis):
    assert [note for note in analysis.notes if "controls not run" in note] == []


def test_the_design_counts_the_questions_that_there_were_and_needs_no_description(tmp_path):
    run = run_of(tmp_path, block_records(), description="", training_questions=16, epochs=1)
    analysis = analyse(read_results(run))
    assert "**Design**: Model " in report_section.section(analysis)
    assert "; 16 training questions x 1 epoch; 16 test questions; " in report_section.section(analysis)
    assert "16 training questions" in page.render(analysis, None)
    assert "16 questions, 1 epoch<" in page.render(analysis, None)
    assert "\n| sweep | `phase1a_lora_sweep` |\n" in results_section.section(analysis)
    assert "<dd>phase1a_lora_sweep</dd>" in page.render(analysis, None)
    assert summary_text(run, analysis).startswith("phase1a_lora_sweep\n")


def test_the_page_says_how_well_texts_are_written_out_of_blocks(tmp_path):
    wrote = TextReconstruction(passages=3, tokens=100, cross_entropy=0.5, accuracy=0.875)
    records = [block_record(name, text_reconstruction=wrote if name == "k2" else None) for name in ANSWERS]
    analysis = analyse(read_results(run_of(tmp_path, records)))
    assert {row.name: row.written for row in analysis.rows if row.written is not None} == {"k2": 0.875}
    found = page.render(analysis, series()).split('id="frequency"')[1].split("</section>")[0]
    assert ">k2</th>" in found
    assert "87.5 %</td>" in found
    assert ">k4</th>" not in found
    assert "<p>k2 was measured on 100 held-out tokens of 3 texts.</p>" in found, "its settings name no passages"


def test_a_section_says_what_its_arms_have_and_has_no_column_without_entries(tmp_path):
    wrote = TextReconstruction(passages=3, tokens=100, cross_entropy=0.5, accuracy=0.875)
    records = [block_record(name, text_reconstruction=wrote if name == "k2" else None) for name in ANSWERS]
    analysis = analyse(read_results(run_of(tmp_path, records)))
    write_sweep_record(tmp_path / "record.json", analysis)
    found = results_section.section(read_sweep_record(tmp_path / "record.json"))
    assert "| configuration | written | raw F1 | different answers | first word | cut | answers |" in found
    assert re.search(r"^\| \*{0,2}k2\*{0,2} \| 87.5 % \| ", found, re.MULTILINE)
    assert "written: the share of the tokens of held-out texts" in found
    for head in ("cosine", "nearest row", "of the ceiling"):
        assert head not in found
    plain = [row.model_copy(update={"written": None}) for row in analysis.rows]
    found = results_section.section(analysis.model_copy(update={"rows": tuple(plain)}))
    assert "\n\nDegeneration of the answers (cut: those that the length limit cut short):\n\n" in found


def learned_from(number, **changes):
    """A change of ``blocks.reconstruction`` and of what was measured, for ``written_page``."""
    measured = TextReconstruction(
        **{"passages": 200, "tokens": 9_000, "cross_entropy": 0.5, "accuracy": 0.9, **changes}
    )
    return {"reconstruction": {"passages": number}}, measured


def written_page(tmp_path, learned):
    """The page's section on reconstruction of a sweep in which the arms of ``learned`` learned from texts."""
    records = []
    for name in ANSWERS:
        blocks, measured = learned.get(name, ({}, None))
        one = block_record(name, text_reconstruction=measured)
        if measured:
            one = one.model_copy(update={"config": {**one.config, "blocks": {**one.config["blocks"], **blocks}}})
        records.append(one)
    found = page.render(analyse(read_results(run_of(tmp_path, records))), series())
    return found.split('id="frequency"')[1].split("</section>")[0]


def test_the_page_says_what_the_shares_of_texts_stand_on(tmp_path):
    found = written_page(tmp_path, dict.fromkeys(("k2", "k4"), learned_from(40_000)))
    said = "Each learned from 40,000 passages and was measured on 9,000 held-out tokens of 200 texts."
    assert f"<p>{said}</p>" in found


def test_arms_that_learned_from_other_texts_are_named_apart(tmp_path):
    learned = {"k2": learned_from(1), "k2_lora": learned_from(1), "k4": learned_from(500, tokens=1, passages=1)}
    found = written_page(tmp_path, learned)
    assert (
        "<p>Each of k2, k2_lora learned from 1 passage and was measured on 9,000 held-out tokens of 200 texts. "
        "k4 learned from 500 passages and was measured on 1 held-out token of 1 text.</p>"
    ) in found
