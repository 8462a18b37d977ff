"""What limits the reading of a sweep is said alike in every rendering."""

import io
import re
from contextlib import redirect_stdout

import pytest

from small_analysis import example, interaction, series, share, with_each
from sweep_folder import edit, edit_answers, record, write_run
from thinwire.report import caveats, compare
from thinwire.report.html import page as html
from thinwire.report.markdown import report_section, results_section
from thinwire.report.write import write_reports
from thinwire.results.read import read_results


def renderings(run):
    """Summary, report, page and both published sections of a sweep's folder, with white space made single."""
    analysis = write_reports(read_results(run))
    texts = {
        name: (run / name).read_text(encoding="utf-8") for name in ("sweep_summary.txt", "report.md", "report.html")
    }
    texts |= {"section": results_section.section(analysis), "short": results_section.short_section(analysis)}
    return {name: " ".join(text.replace("&#x27;", "'").split()) for name, text in texts.items()}


def renderings_and_table(run):
    """The same, and the table of ``thinwire compare``, which names no model."""
    texts, table = renderings(run), io.StringIO()
    with redirect_stdout(table):
        assert compare.main([str(run)]) == 0
    return {**texts, "table": " ".join(table.getvalue().split())}


def seeds(num):
    names = ("baseline", "r16_a32_full")
    again = [record(f"{name}-seed{n}", arm=name, config={"seed": n}) for n in range(1, num) for name in names]
    return [*map(record, names), *again]


@pytest.mark.parametrize(
    ("num", "said"),
    [(1, caveats.ONE_SEED), (3, "3 seeds: below 5, intervals of training luck are rough"), (5, None)],
)
def test_few_seeds_and_what_is_fixed_are_said_in_every_rendering(tmp_path, num, said):
    for name, text in renderings_and_table(write_run(tmp_path / "run", seeds(num))).items():
        text = text.lower()
        assert caveats.FIXED in text, name
        assert said is None or said in text, name
        assert ("intervals of training luck are rough" in text) is (num == 3), name


def test_fewest_and_most_seeds_of_what_is_compared_are_named():
    each = {"baseline": 3, "r16_a32_full": 2, "text_lora": 1}
    found = with_each(example(), lambda row: {"num_seeds": each.get(row.name, 3)})
    assert caveats.limits(found)[0] == "2 or 3 seeds: below 5, intervals of training luck are rough"


def test_seeds_of_the_members_of_interactions_count_unless_they_train_nothing():
    own = interaction("r16_a32_full", (0.1, 0.08, 0.12), (0.1, 0.08, 0.12), reference_arm="text_lora")
    own = own.model_copy(update={"reference_baseline": "text_zero_shot"})
    seeds = {"text_lora": 2, "text_zero_shot": 1}
    changes = lambda row: {  # noqa: E731
        "num_seeds": seeds.get(row.name, 3),
        "params": 0 if row.name == "text_zero_shot" else row.params,
    }
    found = with_each(example(), changes)
    without, with_own = (found.model_copy(update={"interactions": those}) for those in ((), (own,)))
    assert caveats.limits(without)[0].startswith("3 seeds: ")
    assert caveats.limits(with_own)[0].startswith("2 or 3 seeds: ")


def test_where_nothing_is_compared_there_is_nothing_to_limit():
    assert caveats.limits(with_each(example(), lambda _: {"score_difference": None})) == []


def test_shared_paragraphs_are_in_the_first_lines_of_every_rendering(tmp_path):
    run = write_run(tmp_path / "run", shared_paragraphs=1234)
    said = "1,234 test paragraphs also occur in the training data: scores are not of unseen text"
    for name, text in renderings_and_table(run).items():
        start = text.index('<header id="verdict">') if name == "report.html" else 0
        assert said in text[start : start + 400], name
    edit(run / "sweep.json", lambda header: header.update(shared_paragraphs=0))
    assert not [name for name, text in renderings_and_table(run).items() if "unseen text" in text]


def test_one_shared_paragraph_is_one():
    assert caveats.overlap(1) == "1 test paragraph also occurs in the training data: scores are not of unseen text"
    assert caveats.overlap(0) is None


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (None, "tiny"),
        ("Q4_1", "tiny (4-bit GGUF: Q4_1)"),
        ("IQ2_XS", "tiny (2-bit GGUF: IQ2_XS)"),
        ("F16", "tiny (GGUF: F16)"),
    ],
)
def test_how_the_models_file_stores_its_weights_is_said_wherever_the_model_is_named(tmp_path, stored, said):
    run = write_run(tmp_path / "run")
    edit(run / "sweep.json", lambda header: header["model"].update(quantisation=stored))
    for name, text in renderings(run).items():
        assert said in text, name
        assert ("GGUF" in text) is (stored is not None), name


def test_why_answers_are_not_healthy_is_said_in_every_long_rendering(tmp_path):
    run = write_run(tmp_path / "run")
    edit_answers(run / "r4_a8_layers8", lambda row: {**row, "text": "the mill", "raw_text": "the mill"})
    for name, text in renderings(run).items():
        if name != "short":
            assert re.search(r"distinct 6\.2% \(limit \d+\.\d%\)", text), name


@pytest.mark.parametrize("seed", [0, 7])
def test_what_is_of_one_seed_alone_says_of_which(tmp_path, seed):
    records = [record(one.name, arm=one.arm, config={"seed": one.config["seed"] + seed}) for one in seeds(2)]
    texts = renderings(write_run(tmp_path / "run", records))
    for name in ("sweep_summary.txt", "report.md", "report.html", "section"):
        assert f"of the first seed (seed {seed})" in texts[name], name
    one = renderings(write_run(tmp_path / "one", seeds(1)))
    assert not [name for name, text in one.items() if "first seed" in text]


def test_a_share_of_the_ceiling_has_its_scale_and_without_an_interval_its_reason():
    shares = {"r16_a32_full": share(0.75).model_copy(update={"reason": "one seed: luck is not known"})}
    found = with_each(example(), lambda row: {"share_of_ceiling": shares.get(row.name)})
    for text in (report_section.section(found), results_section.section(found), html.render(found, series())):
        assert "0 = codec only, 100 % = text + LoRA" in text
        assert "one seed: luck is not known" in text


def test_interactions_are_in_every_long_rendering_and_the_page_draws_them():
    one = interaction("r16_a32_full", (0.125, 0.09375, 0.15625), (0.25, 0.2, 0.3))
    found = example().model_copy(update={"interactions": (one,)})
    line = "| +12.5 (+9.4 to +15.6) | +25.0 (+20.0 to +30.0) | -12.5 (-13.0 to -12.0) | 0.0125 |"
    for text in (report_section.section(found), results_section.section(found)):
        assert line in text
        assert "r16_a32_full over baseline, less uncompressed_lora over uncompressed" in text
    page = html.render(found, series())
    assert "LoRA's gain on compressed and on uncompressed input" in page.replace("&#x27;", "'")
    assert "[\u221213.0, \u221212.0]" in page
    assert 'id="gains-912"' in page
    assert 'id="gains-912"' not in html.render(example(), series())


def test_interactions_are_in_the_summary(tmp_path):
    asked = {
        "arm": "r16_a32_full",
        "baseline": "baseline",
        "reference_arm": "text_lora",
        "reference_baseline": "text_zero_shot",
    }
    texts = renderings(write_run(tmp_path / "run", interactions={"of_text": asked}))
    summary = texts["sweep_summary.txt"]
    # 11/16 - 6/16 and 15.5/16 - 10/16
    assert re.search(r"of_text \+31.2 \(.* to .*\) \+34.4 \(.* to .*\) -3.1 \(", summary)
    assert "of_text: r16_a32_full over baseline, less text_lora over text_zero_shot" in summary
