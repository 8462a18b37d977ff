import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from block_runs import ANSWERS, INTERACTIONS, block_records
from sweep_folder import ENVIRONMENT, FINISHED_AT, edit, failed, folder_of, header, replace_arm_record, write_run
from sweep_folder import record as made
from thinwire.files import write_json
from thinwire.reading import read_json
from thinwire.report import compare
from thinwire.report.compare import best_arm, format_table, load_rows, main, sort_rows
from thinwire.report.summary import summary_text
from thinwire.report.write import write_reports
from thinwire.results.arm_record import PromptSizes, TrainableParameters
from thinwire.results.read import read_results
from thinwire.results.record import sealed
from thinwire.results.sweep_header import read_header, write_header


def record(name, *, score, em, selection, kind="arm", params=(1000, 0), cosine=0.961, distinct=0.9):
    one = made("text_zero_shot" if cosine is None else "baseline", codec={"code_bits": None})
    test = one.done.test.model_copy(
        update={
            "n": 1000,
            "score": score,
            "exact_match": em,
            "raw_score": score / 2,
            "degeneration": one.done.test.degeneration.model_copy(update={"distinct_share": distinct}),
        }
    )
    results = one.done.model_copy(
        update={
            "trainable_parameters": TrainableParameters(adapter=params[0], lora=params[1]),
            "selection": test.model_copy(update={"score": selection}),
            "test": test,
        }
    )
    if cosine is not None:
        overall = one.done.reconstruction.overall.model_copy(update={"cosine": cosine})
        rebuilt = one.done.reconstruction.model_copy(update={"overall": overall})
        results = results.model_copy(update={"reconstruction": rebuilt})
    return one.model_copy(update={"name": name, "arm": name, "kind": kind, "results": results})


def with_codec(one, **changes):
    codec = one.done.codec.model_copy(update=changes)
    return one.model_copy(update={"results": one.done.model_copy(update={"codec": codec})})


BASELINE = record("baseline", score=0.25, em=0.125, selection=0.25)
# Best on the test split, but not on the selection split.
LUCKY = record("lucky", score=0.5, em=0.375, selection=0.375, params=(1000, 234567))
CHOSEN = record("chosen", score=0.4375, em=0.25, selection=0.5, params=(1000, 500))
CONTROL = record("text", kind="control", score=0.75, em=0.625, selection=0.75, params=(0, 0), cosine=None)
BROKEN = failed("broken", error="ValueError: loss is nan at step 3")
ALL = [BASELINE, LUCKY, CHOSEN, CONTROL, BROKEN]


def make_run(folder, records=ALL, *, name="sweep", baseline="baseline", planned=None):
    """A sweep that has not ended, or has nothing but its records."""
    dirty = ENVIRONMENT.model_copy(update={"git_dirty": True})
    changes = {"name": name, "baseline": baseline, "environment": dirty, "epochs": 3, "finished_at": None}
    planned = planned or {one.name: one.kind for one in records}
    write_header(folder, header(records, planned=planned, **changes))
    for one in records:
        replace_arm_record(folder_of(folder, one), one)
    return folder


def by_name(rows):
    return {row["name"]: row for row in rows}


def line_of(text, name):
    (line,) = [line for line in text.splitlines() if name in line.split()[:2]]
    return line.split()


def test_rows_are_the_records_in_the_planned_order(tmp_path):
    planned = {"text": "control", "lucky": "arm", "broken": "arm", "baseline": "arm"}
    rows = load_rows(make_run(tmp_path / "run", planned=planned))
    assert [row["name"] for row in rows] == ["text", "lucky", "broken", "baseline", "chosen"]  # unplanned ones last


def test_a_row_holds_fractions_and_sums(tmp_path):
    row = by_name(load_rows(make_run(tmp_path / "run")))["lucky"]
    assert row == {
        "run": "sweep",
        "name": "lucky",
        "kind": "arm",
        "status": "done",
        "error": None,
        "score": 0.5,
        "em": 0.375,
        "n": 1000,
        "num_seeds": 1,
        "raw_score": 0.25,
        "difference": 0.25,  # 0.5 - 0.25
        "low": None,  # records alone hold no intervals
        "high": None,
        "p": None,
        "tier": None,
        "selection_score": 0.375,
        "cosine": 0.961,
        "params": 235567,  # 1000 + 234567
        "positions": None,  # every prompt takes all of them
        "code_bits": 2304,  # 144 floats of 2 bytes
        "distinct": 0.9,
        "minutes": 1.5,
        "best": False,
    }


def test_a_failure_has_no_results_rather_than_zeros(tmp_path):
    row = by_name(load_rows(make_run(tmp_path / "run")))["broken"]
    measured = ("score", "em", "n", "raw_score", "difference", "selection_score", "cosine", "params", "distinct")
    measured += ("low", "high", "p", "tier", "code_bits")
    assert {key: row[key] for key in measured} == dict.fromkeys(measured)
    assert (row["status"], row["minutes"]) == ("failed", 0.1)


def test_differences_are_to_the_baseline_alone_and_the_baseline_has_none(tmp_path):
    rows = by_name(load_rows(make_run(tmp_path / "run")))
    assert {name: row["difference"] for name, row in rows.items()} == {
        "baseline": None,
        "lucky": 0.25,
        "chosen": 0.1875,
        "text": 0.5,
        "broken": None,
    }


@pytest.mark.parametrize("records", [[CHOSEN, LUCKY], [failed("baseline"), CHOSEN]])
def test_without_a_finished_baseline_there_are_no_differences(tmp_path, records):
    assert {row["difference"] for row in load_rows(make_run(tmp_path / "run", records))} == {None}


def test_the_selection_split_chooses_the_best_arm_and_never_the_test_split_or_a_control(tmp_path):
    rows = load_rows(make_run(tmp_path / "run"))
    assert best_arm(rows)["name"] == "chosen"
    assert [row["name"] for row in rows if row["best"]] == ["chosen"]
    assert best_arm([row for row in rows if row["name"] in ("text", "broken")]) is None


def test_of_equal_arms_the_first_planned_is_chosen(tmp_path):
    twin = record("a_twin", score=0.9, em=0.9, selection=CHOSEN.done.selection.score)
    assert best_arm(load_rows(make_run(tmp_path / "run", [BASELINE, CHOSEN, twin])))["name"] == "chosen"


def test_rows_without_a_value_come_last_and_equal_rows_keep_their_order(tmp_path):
    rows = load_rows(make_run(tmp_path / "run", [BROKEN, BASELINE, LUCKY, CHOSEN]))
    assert [row["name"] for row in sort_rows(rows, "score")] == ["lucky", "chosen", "baseline", "broken"]
    assert [row["name"] for row in sort_rows(rows, "params")] == ["lucky", "chosen", "baseline", "broken"]
    assert [row["name"] for row in sort_rows(rows, "cosine")] == ["baseline", "lucky", "chosen", "broken"]


def test_a_negative_difference_sorts_above_none(tmp_path):
    worse = record("worse", score=0.125, em=0.0, selection=0.1)
    rows = load_rows(make_run(tmp_path / "run", [BASELINE, worse, CHOSEN]))
    assert [row["name"] for row in sort_rows(rows, "difference")] == ["chosen", "worse", "baseline"]


def test_the_table_shows_points_and_marks_the_chosen_arm(tmp_path):
    arms = [row for row in load_rows(make_run(tmp_path / "run")) if row["kind"] == "arm"]
    table = format_table(arms)
    header = ["configuration", "trained", "F1", "EM", "vs", "base", "interval", "p", "tier", "sel", "F1", "unique"]
    assert table.splitlines()[0].split() == [*header, "min"]
    # 0.4375 is 43.8 and 0.1875 is +18.8; there is neither interval, p nor tier without an analysis.
    chosen = ["*", "chosen", "1,500", "43.8", "25.0", "+18.8", "-", "-", "-", "50.0", "90%", "1.5"]
    assert line_of(table, "chosen") == chosen
    assert line_of(table, "baseline") == ["baseline", "1,000", "25.0", "12.5", *"----", "25.0", "90%", "1.5"]
    assert line_of(table, "broken") == ["broken", "-", "failed", *"------", "0.1"]
    assert table.count("*") == 1


def test_codes_of_different_size_have_their_bits_in_a_column(tmp_path):
    four_floats, nine_bits = with_codec(BASELINE, code_width=4), with_codec(LUCKY, code_width=1, code_bits=9)
    rows = load_rows(make_run(tmp_path / "run", [four_floats, nine_bits, CONTROL, BROKEN]))
    table = format_table(rows)
    assert table.splitlines()[0].split()[:3] == ["configuration", "bits", "trained"]
    assert line_of(table, "baseline")[:3] == ["baseline", "64", "1,000"]
    assert line_of(table, "lucky")[:4] == ["*", "lucky", "9", "235,567"]
    assert line_of(table, "text")[:2] == ["text", "-"]
    assert line_of(table, "broken")[:4] == ["broken", "-", "-", "failed"]
    assert "bits" not in format_table([row for row in rows if row["name"] != "lucky"])


def with_prompts(one, positions, **config):
    sizes = PromptSizes(tokens=400.0, positions=positions)
    results = one.done.model_copy(update={"prompts": sizes})
    return one.model_copy(update={"results": results, "config": {**one.config, **config}})


@pytest.mark.parametrize("config", [{"input": "blocks"}, {"prompt": {"context_share": 0.5}}])
def test_where_prompts_take_fewer_positions_there_is_a_column_for_them(config, tmp_path, capsys):
    fewer, text = with_prompts(LUCKY, 1234.6, **config), with_prompts(CONTROL, 2000.0, input="text")
    run = make_run(tmp_path / "run", [BASELINE, fewer, text, BROKEN])
    assert main([str(run), "--sort", "positions"]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[0].split()[:3] == ["configuration", "positions", "trained"]
    assert line_of(table, "lucky")[:3] == ["*", "lucky", "1,235"]
    assert line_of(table, "text")[:2] == ["text", "2,000"]
    assert line_of(table, "baseline")[:2] == ["baseline", "-"]  # a record of before they were counted
    assert line_of(table, "broken")[:4] == ["broken", "-", "-", "failed"]
    assert "positions" not in summary_text(run), "it has a table of its own"


@pytest.mark.parametrize("config", [{"input": "text"}, {"prompt": {"context_share": 0.5}, "context": False}])
def test_where_prompts_take_all_positions_there_is_no_column_for_them(config, tmp_path):
    run = make_run(tmp_path / "run", [BASELINE, with_prompts(LUCKY, 200.0, **config)])
    rows = load_rows(run)
    assert [row["positions"] for row in rows] == [None, None]
    assert "positions" not in format_table(rows)


def test_positions_are_the_same_in_an_analysis_and_in_records(tmp_path, capsys):
    run = write_run(tmp_path / "run", block_records(), ANSWERS, baseline="k2", interactions=INTERACTIONS)
    write_reports(read_results(run))
    main([str(run)])
    table = capsys.readouterr().out
    assert line_of(table, "k4")[:2] == ["k4", "115"]
    (run / "analysis.json").unlink()
    main([str(run)])
    records = capsys.readouterr().out
    assert [line.split()[:2] for line in records.splitlines() if "k4" in line] == [
        line.split()[:2] for line in table.splitlines() if "k4" in line
    ]


def test_the_columns_of_the_table_line_up(tmp_path):
    lines = format_table([row for row in load_rows(make_run(tmp_path / "run")) if row["kind"] == "arm"]).splitlines()
    assert len({len(line) for line in lines}) == 1  # the last column is right-aligned


def test_a_folder_that_is_no_sweep_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "is no sweep's folder: it has no sweep.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"), [([], "cannot print the results: "), (["--json", "--csv"], "not allowed")]
)
def test_the_script_prints_no_traceback(arguments, said, tmp_path):
    run = make_run(tmp_path / "run")
    with Path("/dev/full").open("w") as full:
        script = [sys.executable, compare.__file__, run, *arguments]
        ended = subprocess.run(script, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == (2 if arguments else 1)
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("text", ["{", "", '{"name": "lucky"}'])
def test_a_broken_record_is_an_error_that_names_the_file(tmp_path, capsys, text):
    run = make_run(tmp_path / "run")
    (run / "lucky" / "record.json").write_text(text)
    assert main([str(run)]) == 1
    captured = capsys.readouterr()
    assert "lucky/record.json" in captured.err.replace("\\", "/")
    assert captured.out == ""


def test_json_holds_every_row_in_the_order_asked_for(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    assert main([str(run), "--json", "--sort", "selection_score"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["text", "chosen", "lucky", "baseline", "broken"]
    assert by_name(rows) == by_name(load_rows(run))


def test_an_unknown_column_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main([str(make_run(tmp_path / "run")), "--sort", "luck"])
    assert caught.value.code == 2
    assert "selection_score" in capsys.readouterr().err  # one of the valid ones


def test_several_runs_are_told_apart_and_each_keeps_its_own_baseline_and_choice(tmp_path, capsys):
    one = make_run(tmp_path / "one", [BASELINE, CHOSEN], name="first")
    other = record("baseline", score=0.375, em=0.0, selection=0.375)
    two = make_run(tmp_path / "two", [other, LUCKY], name="second")
    assert main([str(one), str(two), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    # "lucky" and the second baseline are equal on the selection split: the first planned is chosen.
    assert [(row["run"], row["name"], row["difference"], row["best"]) for row in rows] == [
        ("second", "lucky", 0.125, False),
        ("first", "chosen", 0.1875, True),
        ("second", "baseline", None, True),
        ("first", "baseline", None, False),
    ]
    assert main([str(one), str(two)]) == 0
    out = capsys.readouterr().out
    assert line_of(out, "run")[:2] == ["run", "configuration"]
    assert sum(line.startswith("second") for line in out.splitlines()) == 2


def test_a_sweep_that_has_finished_nothing_yet_can_be_looked_at(tmp_path, capsys):
    assert main([str(make_run(tmp_path / "run", [], planned={"baseline": "arm"}))]) == 0
    assert "no arm is finished yet" in capsys.readouterr().out


def test_the_tables_end_with_the_legend(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare, "legend", lambda scores: f"* stands for the one with the best {scores.label}")
    assert main([str(make_run(tmp_path / "run"))]) == 0
    assert capsys.readouterr().out.endswith("\n\n* stands for the one with the best F1\n")


def test_a_copy_runs_in_bare_python_from_anywhere_on_the_sweep_it_lies_in(tmp_path):
    run = make_run(tmp_path / "run")
    shutil.copyfile(compare.__file__, run / "compare_results.py")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bare = [sys.executable, "-I", "-S"]  # no site packages, no PYTHONPATH, no current folder
    assert subprocess.run([*bare, "-c", "import yaml"], capture_output=True, check=False).returncode == 1

    result = subprocess.run(
        [*bare, str(run / "compare_results.py")], capture_output=True, text=True, check=False, cwd=elsewhere
    )
    assert (result.returncode, result.stderr) == (0, "")
    arms, controls = result.stdout.split("\n\nControls\n")
    assert [line.split()[0] for line in arms.splitlines()] == ["configuration", "lucky", "*", "baseline", "broken"]
    assert line_of(controls, "text")[1:5] == ["0", "75.0", "62.5", "+50.0"]
    assert controls.splitlines()[-2].startswith("* chosen on the selection split")


def test_the_summary_says_what_was_run_and_shows_every_arm_and_control(tmp_path):
    text = summary_text(make_run(tmp_path / "run"))
    assert text.startswith("sweep: made by hand\n")
    assert "model    tiny, revision 0123456789ab\n" in text
    assert "data     5,000 training questions x 3 epochs; 1,000 test questions\n" in text
    assert "made by  thinwire 0.1.0, commit ffffffffffff with changes\n" in text
    assert "on       cpu, 2026-01-02T03:04:05Z\n" in text
    arms, controls = text.split("\nControls\n")
    assert [line_of(arms, name)[-1] for name in ("lucky", "chosen", "baseline", "broken")] == [
        "1.5",
        "1.5",
        "1.5",
        "0.1",
    ]
    assert line_of(controls, "text")[1:3] == ["0", "75.0"]


def test_the_summary_counts_the_training_questions_that_there_were(tmp_path):
    run = make_run(tmp_path / "run")
    write_header(run, read_header(run).model_copy(update={"training_questions": 20, "epochs": 1}))
    assert "data     20 training questions x 1 epoch; 1,000 test questions\n" in summary_text(run)


def test_the_summary_marks_the_arm_that_the_selection_split_chose(tmp_path):
    def marked(run):
        return [line for line in summary_text(run).splitlines() if line.startswith("* ")]

    (line,) = marked(make_run(tmp_path / "run"))
    assert line.split()[1:6] == ["chosen", "1,500", "43.8", "25.0", "+18.8"]
    (line,) = marked(make_run(tmp_path / "alone", [BASELINE]))
    assert line.split()[1:6] == ["baseline", "1,000", "25.0", "12.5", "-"]


def test_the_summary_ends_with_what_went_wrong(tmp_path):
    cancelled = failed("stopped", error="interrupted", status="cancelled")
    text = summary_text(make_run(tmp_path / "run", [BASELINE, BROKEN, cancelled]))
    assert text.endswith("\nbroken failed: ValueError: loss is nan at step 3\n\nstopped cancelled: interrupted\n")


def test_the_summary_of_nothing_but_failures_marks_no_arm_and_judges_nothing(tmp_path):
    text = summary_text(make_run(tmp_path / "run", [failed("baseline")]))
    assert not [line for line in text.splitlines() if line.startswith("* ")]
    assert "Verdict" not in text
    assert "; no test questions\n" in text


def test_the_summary_of_a_checkout_without_a_commit_says_so(tmp_path):
    run = make_run(tmp_path / "run", [BASELINE])
    edit(run / "sweep.json", lambda sweep: sweep["environment"].update(git_commit=None, git_dirty=None))
    assert "commit unknown\n" in summary_text(run)


# With an analysis


@pytest.fixture
def analysed(tmp_path):
    run = write_run(tmp_path / "run")
    return run, write_reports(read_results(run))


def test_rows_of_a_finished_sweep_hold_the_analysis_intervals_p_values_and_tiers(analysed):
    run, analysis = analysed
    of_analysis, rows = {row.name: row for row in analysis.rows}, by_name(load_rows(run))
    assert list(rows) == list(of_analysis)
    for name in ("r4_a8_layers8", "r8_a8_layers12", "r16_a32_full"):
        found = of_analysis[name].score_difference
        got = {key: rows[name][key] for key in ("difference", "low", "high", "p", "tier")}
        assert got == {
            "difference": found.estimate,
            "low": found.low,
            "high": found.high,
            "p": found.p_adjusted,
            "tier": of_analysis[name].supported_tier,
        }
        assert found.low < found.estimate < found.high
    row = rows["r16_a32_full"]
    assert (row["best"], row["difference"], row["score"], row["em"]) == (True, 0.3125, 0.6875, 0.625)  # 11/16 - 6/16
    assert (row["params"], row["minutes"], row["distinct"], row["n"]) == (5000, 1.5, 1.0, 16)


def test_controls_have_a_difference_to_the_baseline_but_no_interval(analysed):
    rows = by_name(load_rows(analysed[0]))
    keys = ("difference", "low", "high", "p", "tier")
    # 15.5/16 - 6/16, 10/16 - 6/16 and 2/16 - 6/16
    for name, difference in (("text_lora", 0.59375), ("text_zero_shot", 0.25), ("codec_only", -0.25)):
        assert {key: rows[name][key] for key in keys} == {**dict.fromkeys(keys), "difference": difference}
    assert {key: rows["baseline"][key] for key in keys} == dict.fromkeys(keys)


def test_the_table_shows_intervals_p_values_and_tiers_as_the_analysis_has_them(analysed):
    run, analysis = analysed
    found = {row.name: row for row in analysis.rows}["r16_a32_full"]
    difference = found.score_difference
    table = format_table([row for row in load_rows(run) if row["kind"] == "arm"])
    assert line_of(table, "r16_a32_full") == [
        *("*", "r16_a32_full", "5,000", "68.8", "62.5", "+31.2"),
        *(f"{100 * difference.low:+.1f}", "to", f"{100 * difference.high:+.1f}"),
        *(f"{difference.p_adjusted:.4f}", found.supported_tier, "59.4", "100%", "1.5"),
    ]


def test_an_analysis_with_the_sweeps_own_end_is_used_and_one_with_another_is_not(analysed):
    run, _ = analysed
    edit(run / "analysis.json", lambda analysis: analysis["rows"][0].update(score=0.0625))
    assert by_name(load_rows(run))["baseline"]["score"] == 0.0625
    edit(run / "sweep.json", lambda sweep: sweep.update(finished_at="2026-01-02T05:00:00Z"))
    row = by_name(load_rows(run))["r16_a32_full"]
    assert (row["difference"], row["low"], row["p"], row["tier"]) == (0.3125, None, None, None)
    assert by_name(load_rows(run))["baseline"]["score"] == 0.375


def test_a_resumed_sweep_is_read_from_its_records_though_its_old_analysis_lies_beside_them(tmp_path):
    # It was stopped in its last arm, reported on as it was, and goes on: neither header has an end.
    run = write_run(tmp_path / "run", finished_at=None)
    write_reports(read_results(run))
    edit(run / "baseline" / "record.json", lambda record: record["results"]["test"].update(score=0.0625))
    assert by_name(load_rows(run))["baseline"]["score"] == 0.0625


def test_rows_of_records_and_of_an_analysis_have_the_same_keys(analysed):
    run, _ = analysed
    with_analysis = load_rows(run)
    (run / "analysis.json").unlink()
    for one, other in zip(with_analysis, load_rows(run), strict=True):
        assert set(one) == set(other)
        same = ("name", "kind", "status", "best", "score", "em", "selection_score", "params", "difference", "distinct")
        assert {key: one[key] for key in same} == {key: other[key] for key in same}


def test_seeds_of_a_control_are_rows_of_records_and_one_row_of_an_analysis(tmp_path):
    again = made("text_lora-seed1", arm="text_lora", answers="R" * 16)
    run = write_run(tmp_path / "run", [made("baseline"), made("text_lora"), again], {"text_lora-seed1": "R" * 16})
    records = by_name(load_rows(run))
    assert {name: row["score"] for name, row in records.items() if row["kind"] == "control"} == {
        "text_lora": 15.5 / 16,
        "text_lora-seed1": 1.0,
    }
    write_reports(read_results(run))
    analysed = by_name(load_rows(run))
    assert list(analysed) == ["baseline", "text_lora"]
    assert analysed["text_lora"]["score"] == (15.5 + 16) / 2 / 16
    assert analysed["text_lora"]["difference"] == pytest.approx((15.75 - 6) / 16)


def test_csv_holds_every_row_as_fractions_and_nothing_where_there_is_nothing(analysed, capsys):
    run, analysis = analysed
    assert main([str(run), "--csv", "--sort", "selection_score"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in rows[:4]] == ["text_lora", "r16_a32_full", "r8_a8_layers12", "text_zero_shot"]
    found = by_name(rows)
    expected = by_name(load_rows(run))
    assert set(found) == set(expected)
    for name, row in found.items():
        assert row == {key: "" if value is None else str(value) for key, value in expected[name].items()}
    of_analysis = {row.name: row for row in analysis.rows}
    assert found["r16_a32_full"]["low"] == str(of_analysis["r16_a32_full"].score_difference.low)
    assert (found["broken"]["score"], found["broken"]["status"]) == ("", "failed")


def test_csv_of_several_runs_has_one_header(analysed, tmp_path, capsys):
    other = make_run(tmp_path / "other", [BASELINE, CHOSEN], name="other")
    assert main([str(analysed[0]), str(other), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["run"] for row in rows].count("other") == 2
    assert len(rows) == 8 + 2
    assert None not in {value for row in rows for value in row.values()}


# What each plan's arm trains on a model of Llama-3.1-8B's size has seven digits and more; its longest name has 16.
PLAN_ARMS = ("r4_a8_layers8", "r4_a16_layers8", "r8_a8_layers12", "r8_a16_layers12", "r8_a32_layers12")
PLAN_ARMS += ("r16_a16_layers16", "r16_a32_layers16", "r8_a16_full", "r16_a32_full", "r32_a32_layers16")


def test_the_summary_of_the_plans_sweep_is_at_most_100_columns_wide(tmp_path):
    records = [record("baseline", score=0.25, em=0.125, selection=0.25, params=(3_588_480, 0))]
    records += [
        record(name, score=0.375, em=0.25, selection=0.375, params=(3_588_480, 1_234_567)) for name in PLAN_ARMS
    ]
    records += [record("text_zero_shot", kind="control", score=1.0, em=1.0, selection=1.0, params=(0, 0))]
    run = make_run(tmp_path / "run", records)
    rows = [
        {
            **{key: row[key] for key in ("name", "kind", "status", "error", "best", "score", "em", "n", "raw_score")},
            **{key: row[key] for key in ("selection_score", "cosine", "params", "code_bits", "num_seeds")},
            "score_difference": {"estimate": 0.125, "low": -0.1234, "high": 0.1555, "p_adjusted": 0.0123},
            "supported_tier": "significant",
            "degeneration": {"metrics": {"distinct_share": 1.0}},
            "minutes": 123.4,
        }
        for row in load_rows(run)
    ]
    edit(run / "sweep.json", lambda sweep: sweep.update(finished_at=FINISHED_AT))
    write_json(run / "analysis.json", sealed({"sweep": read_json(run / "sweep.json"), "rows": rows}))
    text = summary_text(run)
    assert "4,823,047" in text  # 3,588,480 + 1,234,567
    assert "-12.3 to +15.6" in text or "-12.3..+15.6" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_summary_wraps_its_verdict_and_its_failures(tmp_path):
    run = write_run(tmp_path / "run")
    edit(run / "broken" / "record.json", lambda record: record.update(error="word " * 60))
    analysis = write_reports(read_results(run))
    text = (run / "sweep_summary.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 100
    plain = " ".join(text.split())
    assert f"Verdict: {analysis.verdict.headline} {analysis.verdict.sentence}" in plain
    assert text.rstrip().endswith("word")
    assert plain.count("word") == 60
