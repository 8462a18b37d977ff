"""Experiments from Python: the same results as the commands show, and messages for what cannot be read."""

import json
from pathlib import Path

import pytest

from thinwire.api import Run, load_experiment, run
from thinwire.errors import UsageError
from thinwire.report.compare import load_rows
from tiny_sweeps import lines


def test_records_are_those_of_the_arms_and_controls_in_their_order(finished):
    records = finished.records()
    assert list(records) == ["baseline", "r2", "codec_only", "text_lora"]
    for name, record in records.items():
        where = finished.folder / ("controls" if record.kind == "control" else "") / name / "record.json"
        assert record.done.test.score == json.loads(where.read_text())["results"]["test"]["score"]


def test_a_table_has_the_rows_that_the_command_compares(finished):
    table = finished.to_pandas()
    rows = load_rows(finished.folder)
    assert table["name"].tolist() == [row["name"] for row in rows]
    assert list(table.columns) == list(rows[0])
    assert table.set_index("name").loc["r2", "score"] == finished.records()["r2"].done.test.score


def test_predictions_verdict_and_report_are_the_files_of_the_run(finished):
    assert finished.predictions("r2") == lines(finished.folder / "r2" / "predictions.jsonl")
    analysis = json.loads((finished.folder / "analysis.json").read_text())
    assert finished.verdict().headline == analysis["verdict"]["headline"]
    page = finished.report()
    assert page == finished.folder / "report.html"
    assert finished.verdict().sentence.split(".")[0] in page.read_text()


def test_an_unknown_arm_is_refused_with_the_names_that_there_are(finished):
    with pytest.raises(UsageError, match=r"'r3' is done .* there are: baseline, r2, codec_only, text_lora"):
        finished.predictions("r3")


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no sweep's folder"):
        Run.load(tmp_path)


def test_an_experiment_is_changed_by_dotted_settings(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nbaseline: a\narms: {a: {}}\ndata: {samples: 7}\n")
    changes = {
        "data.samples": 9,
        "arms.b.lora.targets": ["q_proj"],
        "model.compile": False,
        "data.test": Path("é😀.csv"),
    }
    made = load_experiment(file, changes)
    assert made.data.test == "é😀.csv"
    assert made.data.samples == 9
    assert made.arm("b").lora.targets == ("q_proj",)
    assert made.model.compile is False
    with pytest.raises(UsageError, match=r"data\.sample"):
        load_experiment(file, {"data.sample": 9})


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        (None, {}, "the experiment file is a path, as a text or a Path, got None"),
        (b"best", {}, "got b'best'"),
        ("", {}, "the path of the experiment file is empty"),
        ("best", "data.samples=3", "settings are values by their dotted paths"),
        ("best", ["data.samples=3"], "settings are values by their dotted paths"),
        ("best", {3: 3}, "settings are values by their dotted paths"),
        ("best", {"data.samples": object()}, "is no value of a setting"),
    ],
)
def test_what_is_no_path_or_no_settings_is_refused(path, settings, message):
    with pytest.raises(UsageError, match=message):
        load_experiment(path, settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiment": "best"}, "an experiment is expected, as load_experiment returns it, got 'best'"),
        ({"folder": 5}, "the output folder is a path, as a text or a Path, got 5"),
        ({"folder": ""}, "the path of the output folder is empty"),
        ({"only": "baseline"}, r"only takes a list of names, such as \['baseline'\], got 'baseline'"),
        ({"only": [3]}, "only takes a list of names"),
        ({"track": [3]}, "track takes a list of names"),
        ({"controls": "some"}, "controls takes auto, all, none; got 'some'"),
        ({"controls": True}, "controls takes auto, all, none; got True"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_written(changes, message, tmp_path):
    given = {"experiment": load_experiment("best"), "folder": tmp_path / "run", **changes}
    with pytest.raises(UsageError, match=message):
        run(given.pop("experiment"), given.pop("folder"), **given)
    assert not (tmp_path / "run").exists()


def test_a_run_is_opened_by_a_text_too(finished):
    assert Run(str(finished.folder)) == Run.load(str(finished.folder)) == finished
    with pytest.raises(UsageError, match="the sweep's folder is a path"):
        Run.load(None)


def test_what_is_no_name_is_no_arm(finished):
    with pytest.raises(UsageError, match=r"no arm or control called \['r2'\] is done"):
        finished.predictions(["r2"])
