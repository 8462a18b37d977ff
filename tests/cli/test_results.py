"""The commands that read a finished sweep's folder: what they print, and how they say no."""

import csv
import io
import json
import re

import pytest

from sweep_folder import edit, failed, load, record, write_run
from thinwire.report.markdown.insert import BEGIN, END
from tiny_models import write_squad


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run")


@pytest.fixture
def reported(run, thinwire):
    assert thinwire("report", run)[0] == 0
    return run


def points(fraction):
    return f"{100 * fraction:+.1f}"


def test_best_names_the_arm_that_the_selection_split_chose(run, thinwire):
    # Not the best on the test split, which is r8_a8_layers12: 11/16, 10/16, and 11/16 - 6/16.
    assert thinwire("best", run) == (0, "r16_a32_full: F1 68.8, EM 62.5, +31.2 to the baseline\n", "")


def test_best_of_a_reported_sweep_says_interval_and_tier(reported, thinwire):
    (row,) = [row for row in load(reported / "analysis.json")["rows"] if row["best"]]
    low, high = points(row["score_difference"]["low"]), points(row["score_difference"]["high"])
    said = f"r16_a32_full: F1 68.8, EM 62.5, +31.2 to the baseline ({low} to {high}; significant)\n"
    assert thinwire("best", reported) == (0, said, "")


def test_best_as_json_is_the_row(reported, thinwire):
    code, out, _ = thinwire("best", reported, "--json")
    row = json.loads(out)
    assert (code, row["name"], row["score"], row["difference"], row["tier"]) == (
        *(0, "r16_a32_full", 0.6875, 0.3125, "significant"),
    )


def test_best_of_the_baseline_alone_has_no_gain(tmp_path, thinwire):
    alone = write_run(tmp_path / "alone", [record("baseline")])
    assert thinwire("best", alone) == (0, "baseline: F1 37.5, EM 25.0\n", "")


def test_scores_have_the_name_of_their_task_and_extractors_are_for_answers_that_are_decoded(tmp_path, thinwire):
    run = write_run(tmp_path / "run", task="classification", metric="accuracy")
    assert thinwire("best", run) == (0, "r16_a32_full: accuracy 68.8, +31.2 to the baseline\n", "")
    code, out, _ = thinwire("compare", run)
    assert (code, out.split()[2], "EM" in out, "F1" in out) == (0, "accuracy", False, False)
    code, out, err = thinwire("postprocess", run)
    assert (code, out) == (2, "")
    assert "is scored by accuracy (task classification); extractors are scored by F1 and EM" in " ".join(err.split())


def test_report_writes_four_files_and_prints_the_page(run, thinwire):
    assert thinwire("report", run) == (0, f"{run / 'report.html'}\n", "")
    assert load(run / "analysis.json")["verdict"]["best"] == "r16_a32_full"
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "r16_a32_full" in (run / "sweep_summary.txt").read_text(encoding="utf-8")
    assert (run / "report.md").read_text(encoding="utf-8").startswith("### 2.9 ")


def test_report_into_adds_the_section_once_and_then_replaces_it(run, tmp_path, thinwire):
    target = tmp_path / "REPORT.md"
    target.write_bytes(b"# R\r\n")
    code, out, _ = thinwire("report", run, "--into", target)
    assert (code, out.splitlines()[1]) == (0, f"{target}: section of phase1a_lora_sweep added at the end")
    once = target.read_bytes()
    begin, end = (mark.format(name="phase1a_lora_sweep").encode() for mark in (BEGIN, END))
    assert once == b"# R\r\n\n" + begin + b"\n" + (run / "report.md").read_bytes() + end + b"\n"
    code, out, _ = thinwire("report", run, "--into", target)
    assert (code, out.splitlines()[1]) == (0, f"{target}: section of phase1a_lora_sweep replaced")
    assert target.read_bytes() == once


def test_plot_draws_into_the_run_or_where_it_is_told(run, tmp_path, thinwire):
    pytest.importorskip("vl_convert")
    code, out, _ = thinwire("plot", run, "-o", tmp_path / "drawn")
    files = sorted((tmp_path / "drawn").iterdir())
    assert code == 0
    assert sorted(out.split()) == [str(file) for file in files]
    assert {file.suffix for file in files} == {".svg", ".png"}
    assert len({file.stem for file in files}) * 2 == len(files) >= 8
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files if file.suffix == ".png")
    assert not (run / "figures").exists()


def test_plot_draws_from_a_record_what_it_holds(run, tmp_path, thinwire):
    thinwire("publish", run, "--record", tmp_path / "lora.json")
    code, out, _ = thinwire("plot", tmp_path / "lora.json", "--format", "svg")
    thinwire("plot", run, "-o", tmp_path / "all", "--format", "svg")
    drawn, of_the_folder = (
        {file.stem: re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text()) for file in folder.iterdir()}
        for folder in (tmp_path / "lora", tmp_path / "all")
    )
    assert code == 0
    assert sorted(out.split()) == sorted(str(tmp_path / "lora" / f"{name}.svg") for name in drawn)
    curves = {f"training_{name}" for name in ("loss", "cosine", "ce", "grad_norm_adapter", "grad_norm_lora")}
    assert of_the_folder.keys() - drawn.keys() == {*curves, "frequency"}
    assert all(words and words == of_the_folder[name] for name, words in drawn.items())


def test_postprocess_scores_every_arm_and_control_by_every_extractor(run, thinwire):
    code, out, _ = thinwire("postprocess", run)
    head, *lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert head[:6] == ["F1", "in", "points", "raw", "first_line", "leading_punctuation"]
    assert [line[0] for line in lines] == [
        *("baseline", "r4_a8_layers8", "r8_a8_layers12", "r16_a32_full", "text_lora", "text_zero_shot", "codec_only"),
    ]
    # One answer of r16_a32_full runs on: raw 10 2/3 of 16 is 66.7, its first line 11 of 16.
    assert lines[3][1:3] == ["66.7", "68.8"]
    assert lines[0][1:3] == ["37.5", "37.5"]


def test_postprocess_as_json_has_fractions(run, thinwire):
    found = json.loads(thinwire("postprocess", run, "--json")[1])
    assert found["r16_a32_full"]["raw"] == {
        "f1": pytest.approx((11 - 1 / 3) / 16),
        "exact_match": 0.5625,  # 9 of 16
        "changed_share": 0.0625,  # 1 of 16
    }


def test_compare_prints_a_table_csv_or_json(reported, thinwire):
    code, out, _ = thinwire("compare", reported, "--csv", "--sort", "params")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["name"] for row in rows[:3]] == ["r16_a32_full", "text_lora", "r8_a8_layers12"]  # 5000, 4000, 3000
    assert (rows[0]["score"], rows[0]["difference"], rows[0]["tier"]) == ("0.6875", "0.3125", "significant")
    assert [row["name"] for row in json.loads(thinwire("compare", reported, "--json")[1])][:2] == [
        *("text_lora", "r8_a8_layers12"),
    ]
    assert "* r16_a32_full" in thinwire("compare", reported)[1]


# Mistakes


def one_line(code, out, err):
    """A request that cannot be carried out: exit code 2 and one line."""
    assert code == 2, err
    assert len(err.strip().splitlines()) == 1, err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("command", ["best", "report", "plot", "postprocess", "compare"])
def test_a_folder_that_is_no_sweeps_is_a_mistake(command, tmp_path, thinwire):
    assert "is no sweep's folder: it has no sweep.json" in one_line(*thinwire(command, tmp_path))


def test_plot_names_the_formats_that_it_can_write(run, tmp_path, thinwire):
    said = one_line(*thinwire("plot", run, "-o", tmp_path / "drawn", "--format", "gif", "--format", "doc"))
    assert "--format takes one of svg, png, pdf, got 'gif'" in said
    assert not (tmp_path / "drawn").exists()


@pytest.mark.parametrize("command", ["report", "plot", "postprocess"])
def test_a_sweep_that_has_not_ended_is_a_mistake(command, run, thinwire):
    (run / "r16_a32_full" / "record.json").unlink()
    assert "r16_a32_full has no record.json; continue it with --resume" in one_line(*thinwire(command, run))
    assert not (run / "analysis.json").exists()


@pytest.mark.parametrize("command", ["best", "report", "plot", "postprocess"])
def test_a_sweep_of_failures_alone_is_a_mistake(command, tmp_path, thinwire):
    run = write_run(tmp_path / "run", [failed("baseline"), failed("broken")])
    assert "has no arm that is done" in one_line(*thinwire(command, run))


@pytest.mark.parametrize("command", ["report", "plot", "postprocess"])
def test_a_mixed_folder_is_a_mistake(command, run, thinwire):
    edit(run / "r4_a8_layers8" / "record.json", lambda record: record["data"].update(test="other"))
    assert "is mixed: r4_a8_layers8 and baseline differ in test questions" in one_line(*thinwire(command, run))


def test_compare_names_the_columns_it_can_sort_by(run, thinwire):
    said = one_line(*thinwire("compare", run, "--sort", "luck"))
    assert "--sort takes one of code_bits, positions, params, score, em, difference, p, " in said
    assert "'luck'" in said


def test_report_into_a_file_that_is_missing_or_broken_is_a_mistake(run, tmp_path, thinwire):
    assert "create it, or leave --into out" in one_line(*thinwire("report", run, "--into", tmp_path / "no.md"))
    assert not (run / "report.html").exists()
    broken = tmp_path / "broken.md"
    broken.write_text(BEGIN.format(name="phase1a_lora_sweep"))
    assert "once each; mend or remove them" in one_line(*thinwire("report", run, "--into", broken))
    assert broken.read_text() == BEGIN.format(name="phase1a_lora_sweep")


@pytest.mark.parametrize("name", ["sweep.json", "experiment.yaml", "report.md", "sweep_summary.txt"])
@pytest.mark.parametrize("command", ["report", "publish"])
def test_no_section_is_put_into_a_file_of_the_sweep(command, name, reported, thinwire):
    (reported / "experiment.yaml").write_text("name: mine\n")
    before = (reported / name).read_bytes()
    assert "name a" in one_line(*thinwire(command, reported, "--into", reported / name))
    assert (reported / name).read_bytes() == before


def test_compare_prints_one_form(reported, tmp_path, thinwire):
    assert "--json and --csv" in one_line(*thinwire("compare", reported, "--json", "--csv"))
    items = tmp_path / "items.jsonl"
    items.write_text('{"id": "a", "score": 1}\n')
    assert "--json and --csv" in one_line(*thinwire("compare", items, items, "--json", "--csv"))


def test_compare_without_standard_output_is_no_error(reported, monkeypatch, thinwire):
    monkeypatch.setattr("sys.stdout", None)  # as `>&-` leaves it
    assert thinwire("compare", reported)[0] == 0


def test_a_link_to_nothing_is_not_what_was_meant(tmp_path, thinwire):
    (tmp_path / "run").symlink_to(tmp_path / "gone")
    assert "did you mean" not in one_line(*thinwire("best", tmp_path / "run"))


@pytest.mark.parametrize("command", ["best", "report", "plot", "postprocess", "compare"])
def test_the_folder_of_an_arm_is_told_from_a_sweeps(command, run, thinwire):
    assert "it is an arm's, so name the sweep's" in one_line(*thinwire(command, run / "baseline"))


@pytest.mark.parametrize("command", ["evaluate", "export"])
@pytest.mark.parametrize("part", ["checkpoint", "record.json"])
def test_a_part_of_an_arm_is_refused_with_the_arms_folder(command, part, run, tmp_path, thinwire):
    more = [tmp_path / "out"] if command == "export" else []
    arm = run / "baseline"
    assert f"name the arm's folder, {arm}" in one_line(*thinwire(command, arm / part, *more))


@pytest.mark.parametrize("option", [("--style", "plain"), ("--task", "short_answer")])
def test_options_of_a_bare_model_are_refused_for_an_arm(option, run, thinwire):
    said = one_line(*thinwire("evaluate", run / "baseline", *option))
    assert f"{option[0]} is for a bare model" in said


def test_evaluate_overwrites_nothing_but_predictions(run, tmp_path, thinwire):
    data = write_squad(tmp_path / "data.json")
    before = data.read_bytes()
    said = one_line(*thinwire("evaluate", run / "baseline", "--data", data, "--predictions", data))
    assert "data.json is not overwritten, as it holds no predictions" in said
    assert data.read_bytes() == before


def test_predictions_of_another_data_set_are_not_scored(tmp_path, thinwire):
    data, answers = write_squad(tmp_path / "data.json"), tmp_path / "answers.json"
    answers.write_text('{"572": "x", "573": "y"}')
    assert "it answers '572', and the first question there is '0-0'" in one_line(*thinwire("score", answers, data))
    answers.write_text('{"0-0": "x", "573": "y"}')
    assert thinwire("score", answers, data)[0] == 0


def test_a_file_that_is_no_sweep_record_is_told_what_one_is(run, tmp_path, thinwire):
    (tmp_path / "notes.md").write_text("# Notes\n")
    for arguments in (["publish", tmp_path / "notes.md"], ["publish", run, "--record", tmp_path / "notes.md"]):
        code, _, err = thinwire(*arguments)
        assert (code, len(err.splitlines())) == (1, 1)
        assert "expected a sweep record" in err


def test_a_header_that_is_no_object_is_damaged(run, thinwire):
    (run / "sweep.json").write_text("[]")
    code, _, err = thinwire("report", run)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "sweep.json is damaged: it holds no JSON object" in err


def test_best_says_that_a_sweep_goes_on(run, thinwire):
    assert "is not finished" not in thinwire("best", run)[2]
    edit(run / "sweep.json", lambda header: header.update(finished_at=None))
    code, out, err = thinwire("best", run)
    assert (code, out.partition(":")[0]) == (0, "r16_a32_full")
    assert "is not finished: this is the best of the arms that are done" in err


def test_no_section_is_put_into_a_sweep_record(run, tmp_path, thinwire):
    record = tmp_path / "record.json"
    assert thinwire("publish", run, "--record", record)[0] == 0
    before = record.read_bytes()
    assert "name a .md file" in one_line(*thinwire("publish", record, "--into", record))
    assert record.read_bytes() == before


def test_best_of_a_header_that_lacks_its_entries_is_an_error_in_one_line(run, thinwire):
    (run / "sweep.json").write_text("{}")
    code, out, err = thinwire("best", run)
    assert code in (1, 2)
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert "sweep.json" in err
