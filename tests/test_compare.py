import json
import shutil
import subprocess
import sys

import pytest

from thinwire.report import compare
from thinwire.report.compare import best_arm, format_table, load_rows, main, sort_rows
from thinwire.report.summary import summary_text


def record(name, *, f1, em, selection, kind="arm", params=(1000, 0), cosine=0.961, distinct=0.9):
    return {
        "name": name,
        "kind": kind,
        "status": "done",
        "error": None,
        "trainable_parameters": {"adapter": params[0], "lora": params[1]},
        "reconstruction": None if cosine is None else {"cosine": cosine},
        "selection": {"f1": selection},
        "test": {"f1": f1, "exact_match": em, "raw_f1": f1 / 2, "n": 1000, "collapse": {"distinct_share": distinct}},
        "seconds_total": 90.0,
    }


def failed(name, error="ValueError: loss is nan at step 3", status="failed"):
    return {"name": name, "kind": "arm", "status": status, "error": error, "seconds_total": 6.0}


BASELINE = record("baseline", f1=0.25, em=0.125, selection=0.25)
# Best on the test split, but not on the selection split.
LUCKY = record("lucky", f1=0.5, em=0.375, selection=0.375, params=(1000, 234567))
CHOSEN = record("chosen", f1=0.4375, em=0.25, selection=0.5, params=(1000, 500))
CONTROL = record("text", kind="control", f1=0.75, em=0.625, selection=0.75, params=(0, 0), cosine=None)
BROKEN = failed("broken")
ALL = [BASELINE, LUCKY, CHOSEN, CONTROL, BROKEN]


def make_run(folder, records=ALL, *, name="sweep", baseline="baseline", planned=None):
    folder.mkdir(parents=True)
    sweep = {
        "name": name,
        "description": "made by hand",
        "baseline": baseline,
        "planned": planned or {r["name"]: r["kind"] for r in records},
        "model": {"name": "tiny", "revision": "0123456789abcdef"},
        "samples": 5000,
        "epochs": 3,
        "environment": {"git_commit": "f" * 40, "git_dirty": True, "thinwire": "0.1.0", "device": "cpu"},
        "started_at": "2026-01-02T03:04:05Z",
    }
    (folder / "sweep.json").write_text(json.dumps(sweep))
    for r in records:
        arm = folder / ("controls" if r["kind"] == "control" else "") / r["name"]
        arm.mkdir(parents=True)
        (arm / "record.json").write_text(json.dumps(r))
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
        "f1": 0.5,
        "em": 0.375,
        "n": 1000,
        "raw_f1": 0.25,
        "difference": 0.25,  # 0.5 - 0.25
        "selection_f1": 0.375,
        "cosine": 0.961,
        "params": 235567,  # 1000 + 234567
        "distinct": 0.9,
        "minutes": 1.5,
        "best": False,
    }


def test_a_failure_has_no_figures_rather_than_zeros(tmp_path):
    row = by_name(load_rows(make_run(tmp_path / "run")))["broken"]
    figures = ("f1", "em", "n", "raw_f1", "difference", "selection_f1", "cosine", "params", "distinct")
    assert {key: row[key] for key in figures} == dict.fromkeys(figures)
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
    twin = record("a_twin", f1=0.9, em=0.9, selection=CHOSEN["selection"]["f1"])
    assert best_arm(load_rows(make_run(tmp_path / "run", [BASELINE, CHOSEN, twin])))["name"] == "chosen"


def test_rows_without_a_figure_come_last_and_equal_rows_keep_their_order(tmp_path):
    rows = load_rows(make_run(tmp_path / "run", [BROKEN, BASELINE, LUCKY, CHOSEN]))
    assert [row["name"] for row in sort_rows(rows, "f1")] == ["lucky", "chosen", "baseline", "broken"]
    assert [row["name"] for row in sort_rows(rows, "params")] == ["lucky", "chosen", "baseline", "broken"]
    assert [row["name"] for row in sort_rows(rows, "cosine")] == ["baseline", "lucky", "chosen", "broken"]


def test_a_negative_difference_sorts_above_none(tmp_path):
    worse = record("worse", f1=0.125, em=0.0, selection=0.1)
    rows = load_rows(make_run(tmp_path / "run", [BASELINE, worse, CHOSEN]))
    assert [row["name"] for row in sort_rows(rows, "difference")] == ["chosen", "worse", "baseline"]


def test_the_table_shows_points_and_marks_the_chosen_arm(tmp_path):
    arms = [row for row in load_rows(make_run(tmp_path / "run")) if row["kind"] == "arm"]
    table = format_table(arms)
    assert line_of(table, "chosen") == ["*", "chosen", "43.8", "25.0", "+18.8", "50.0", "0.961", "1,500", "90%", "1.5"]
    assert line_of(table, "baseline") == ["baseline", "25.0", "12.5", "-", "25.0", "0.961", "1,000", "90%", "1.5"]
    assert line_of(table, "broken") == ["broken", "failed", "-", "-", "-", "-", "-", "0.1"]
    assert table.count("*") == 1


def test_the_columns_of_the_table_line_up(tmp_path):
    lines = format_table([row for row in load_rows(make_run(tmp_path / "run")) if row["kind"] == "arm"]).splitlines()
    assert len({len(line) for line in lines}) == 1  # the last column is right-aligned


def test_a_folder_that_is_no_sweep_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "is no sweep's folder: it has no sweep.json" in capsys.readouterr().err


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
    assert main([str(run), "--json", "--sort", "selection_f1"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == ["text", "chosen", "lucky", "baseline", "broken"]
    assert by_name(rows) == by_name(load_rows(run))


def test_an_unknown_column_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main([str(make_run(tmp_path / "run")), "--sort", "luck"])
    assert caught.value.code == 2
    assert "selection_f1" in capsys.readouterr().err  # one of the valid ones


def test_several_runs_are_told_apart_and_each_keeps_its_own_baseline_and_choice(tmp_path, capsys):
    one = make_run(tmp_path / "one", [BASELINE, CHOSEN], name="first")
    other = record("baseline", f1=0.375, em=0.0, selection=0.375)
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
    arms, controls = result.stdout.split("\nControls\n")
    assert [line.split()[0] for line in arms.splitlines()] == ["configuration", "lucky", "*", "baseline", "broken"]
    assert line_of(controls, "text")[1:5] == ["75.0", "62.5", "+50.0", "75.0"]


def test_the_summary_says_what_was_run_and_shows_every_arm_and_control(tmp_path):
    text = summary_text(make_run(tmp_path / "run"))
    assert text.startswith("sweep: made by hand\n")
    assert "tiny (0123456789ab)\n" in text
    assert "5,000 training questions x 3 epochs; scored on 1,000 test questions" in text
    assert "thinwire 0.1.0, commit ffffffffffff with changes, on cpu, 2026-01-02T03:04:05Z" in text
    arms, controls = text.split("\nControls\n")
    assert [line_of(arms, name)[-1] for name in ("lucky", "chosen", "baseline", "broken")] == [
        "1.5",
        "1.5",
        "1.5",
        "0.1",
    ]
    assert line_of(controls, "text")[1] == "75.0"


def test_the_summary_names_the_arm_that_the_selection_split_chose(tmp_path):
    text = summary_text(make_run(tmp_path / "run"))
    assert "Best arm, chosen on the selection split (*): chosen, F1 43.8, +18.8 to the baseline.\n" in text
    alone = summary_text(make_run(tmp_path / "alone", [BASELINE]))
    assert "(*): baseline, F1 25.0.\n" in alone


def test_the_summary_ends_with_what_went_wrong(tmp_path):
    cancelled = failed("stopped", "interrupted", status="cancelled")
    text = summary_text(make_run(tmp_path / "run", [BASELINE, BROKEN, cancelled]))
    assert text.endswith("\nbroken failed: ValueError: loss is nan at step 3\n\nstopped cancelled: interrupted\n")


def test_the_summary_of_nothing_but_failures_claims_no_best_arm(tmp_path):
    text = summary_text(make_run(tmp_path / "run", [failed("baseline")]))
    assert "Best arm" not in text
    assert "scored on no test questions" in text


def test_the_summary_of_a_checkout_without_a_commit_says_so(tmp_path):
    run = make_run(tmp_path / "run", [BASELINE])
    sweep = json.loads((run / "sweep.json").read_text())
    sweep["environment"].update(git_commit=None, git_dirty=None)
    (run / "sweep.json").write_text(json.dumps(sweep))
    assert "commit unknown, on cpu" in summary_text(run)
