"""Folders of arms are results like any other: of one sweep or of several, with their seeds."""

import json
import shutil
from pathlib import Path

import pytest

from sweep_folder import ANSWERS, failed, record, write_run
from thinwire.errors import ThinwireError, UsageError
from thinwire.items.comparison import compare_items
from thinwire.items.formats import may_be_scores, read_scores
from thinwire.items.item_scores import Choice
from thinwire.items.labels import labelled


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a sweep, and the working directory above it."""
    monkeypatch.chdir(tmp_path)
    return write_run(tmp_path / "run").relative_to(tmp_path)


def test_the_scores_of_its_questions_are_read_with_their_paragraphs(run):
    found = read_scores(run / "baseline", Choice())
    assert (found.metric, len(found.items)) == ("F1", 16)
    assert sum(item.score for item in found.items) == 6.0  # 4 right, 4 half
    assert len({item.cluster for item in found.items}) == 8
    assert sum(item.score for item in read_scores(run / "baseline", Choice(metric="exact_match")).items) == 4.0
    assert may_be_scores(run / "controls" / "text_lora")


def test_a_control_may_be_the_baseline(run):
    found = compare_items(labelled([str(run / "controls" / "text_lora"), str(run / "r16_a32_full")]))
    assert found.baseline == "text_lora"
    assert found.comparison.arms["r16_a32_full"].difference == pytest.approx(11 / 16 - 15.5 / 16)
    assert (found.num_items, found.num_clusters) == (16, 8)


def test_folders_of_the_seeds_of_one_arm_are_one_result_and_those_of_two_sweeps_are_two(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = [record(name) for name in ANSWERS]
    again = record("r16_a32_full-seed1", arm="r16_a32_full")
    write_run(tmp_path / "run", [*records, again], {**ANSWERS, "r16_a32_full-seed1": ANSWERS["r16_a32_full"]})
    seeds = ["run/r16_a32_full", "run/r16_a32_full-seed1"]
    assert {name: len(paths) for name, paths in labelled(["run/baseline", *seeds]).items()} == {
        "baseline": 1,
        "r16_a32_full": 2,
    }
    shutil.copytree("run", "other")
    names = labelled([*seeds, "other/r16_a32_full", "named=other/baseline"])
    assert {name: len(paths) for name, paths in names.items()} == {
        "run/r16_a32_full": 2,
        "other/r16_a32_full": 1,
        "named": 1,
    }


def test_a_given_name_is_not_that_of_an_arm_without_one(run, monkeypatch):
    monkeypatch.chdir(run)
    with pytest.raises(UsageError, match="baseline is the name of another result; give baseline one of its own: NAME="):
        labelled(["r4_a8_layers8", "baseline=r16_a32_full", "baseline"])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"metric": "f1"}, "has no score 'f1'; choose --metric among 'score', 'exact_match', 'raw_score', 'raw_"),
        ({"cluster": "title"}, r"has no cluster 'title' \(--cluster\); expected paragraph_id; leave it out"),
        ({"task": "squad"}, "is the folder of an arm, which has one task; --task is for folders of lm-eval"),
    ],
)
def test_what_it_has_not_is_refused_with_what_it_has(run, choice, message):
    with pytest.raises(UsageError, match=message):
        read_scores(run / "baseline", Choice(**choice))


def test_an_arm_that_is_not_done_has_no_scores(tmp_path):
    write_run(tmp_path / "run", [record("baseline"), failed("broken")])
    with pytest.raises(UsageError, match="broken is failed, and has no scores to compare; run it first"):
        read_scores(tmp_path / "run" / "broken", Choice())


def test_answers_that_are_not_those_of_the_record_are_not_compared(run):
    path = run / "baseline" / "predictions.jsonl"
    first, *others = path.read_text(encoding="utf-8").splitlines()
    changed = json.dumps({**json.loads(first), "score": 0.25})
    path.write_text("\n".join([changed, *others]) + "\n", encoding="utf-8")
    with pytest.raises(ThinwireError, match=r"predictions\.jsonl"):
        read_scores(run / "baseline", Choice())


def test_a_folder_that_has_another_name_than_its_arm_is_refused_with_what_to_do(run):
    Path("best").symlink_to(run / "r16_a32_full", target_is_directory=True)
    message = (
        r"best/record.json is the record of the arm r16_a32_full, .* name the folder r16_a32_full again \(of a link,"
    )
    with pytest.raises(ThinwireError, match=message):
        read_scores(Path("best"), Choice())


def test_a_folder_of_an_arm_without_a_record_is_not_over(run):
    (run / "baseline" / "record.json").unlink()
    with pytest.raises(UsageError, match=r"no record.json; expected .* or the folder of an arm that is over"):
        read_scores(run / "baseline", Choice())
