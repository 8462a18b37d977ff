import json
import zipfile
from statistics import fmean

import pytest

from item_files import INSPECT, inspect_log, sample
from thinwire.errors import UsageError
from thinwire.items.formats import read_scores
from thinwire.items.item_scores import Choice


def scores(path, **choice):
    return [item.score for item in read_scores(path, Choice(**choice)).items]


@pytest.mark.parametrize("metric", ["match", "includes"])
@pytest.mark.parametrize("model", ["steps100", "steps900"])
def test_the_mean_over_the_samples_of_an_eval_log_is_the_tools_own_accuracy(model, metric):
    path = INSPECT / f"{model}_deflated.eval"
    with zipfile.ZipFile(path) as archive:
        own = {one["name"]: one["metrics"] for one in json.loads(archive.read("header.json"))["results"]["scores"]}
    found = scores(path, metric=metric)
    assert len(found) == 16
    assert fmean(found) == own[metric]["accuracy"]["value"]


def test_a_log_that_is_packed_with_zstandard_is_read_where_that_is_installed():
    pytest.importorskip("backports.zstd")
    choice = Choice(metric="match", cluster="first")
    deflated = read_scores(INSPECT / "steps100_deflated.eval", choice)
    assert read_scores(INSPECT / "steps100.eval", choice).items == deflated.items


def test_without_zstandard_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr("thinwire.items.zip_members.zipfile_that_knows_most", lambda: zipfile)
    if hasattr(zipfile, "ZIP_ZSTANDARD"):
        pytest.skip("this Python reads Zstandard")
    with pytest.raises(UsageError, match=r"compressed with Zstandard, .*pip install 'thinwire\[inspect\]'"):
        scores(INSPECT / "steps100.eval", metric="match")


def test_a_json_log_gives_each_sample_its_mean_over_epochs_which_is_what_the_tool_reduced_them_to():
    path = INSPECT / "steps250.json"
    log = json.loads(path.read_text(encoding="utf-8"))
    reduced = {one["scorer"]: one["samples"] for one in log["reductions"]}["match"]
    found = read_scores(path, Choice(metric="match", cluster="first"))
    assert {item.id: item.score for item in found.items} == {str(one["sample_id"]): one["value"] for one in reduced}
    assert len(log["samples"]) == 2 * len(found.items) == 16
    assert {item.score for item in found.items} > {0.5}  # right in one epoch of two
    assert [item.cluster for item in found.items] == list("12345678")
    (note,) = found.notes
    assert note.endswith("steps250.json: an item's score is its mean over 2 epochs")


def test_the_samples_of_both_forms_of_log_are_known_to_be_the_same_items():
    one, other = read_scores(INSPECT / "steps250.json", Choice(metric="match")), INSPECT / "steps100_deflated.eval"
    content = {item.id: item.content for item in read_scores(other, Choice(metric="match")).items}
    assert all(item.content == content[item.id] for item in one.items)
    assert len(set(content.values())) == 16


def test_several_scorers_need_a_choice():
    with pytest.raises(UsageError, match="has several metrics: 'match', 'includes'; choose one with --metric"):
        scores(INSPECT / "steps900_deflated.eval")


@pytest.mark.parametrize(
    ("value", "number"),
    [("C", 1.0), ("I", 0.0), ("P", 0.5), ("N", 0.0), (True, 1.0), (0.25, 0.25), ("0.75", 0.75), ("Yes", 1), ("no", 0)],
)
def test_values_become_numbers_as_by_the_tools_own_metrics(value, number, tmp_path):
    assert scores(inspect_log(tmp_path / "a.eval", [sample(1, value)])) == [number]


def test_a_score_of_several_values_gives_a_metric_for_each(tmp_path):
    path = inspect_log(tmp_path / "a.eval", [sample("x", {"f1": 0.5, "parts": [1], "exact": 0})])
    assert scores(path, metric="match.f1") == [0.5]
    with pytest.raises(UsageError, match=r"several metrics: 'match.f1', 'match.exact'"):
        scores(path)


def test_another_reduction_of_epochs_than_the_mean_is_said(tmp_path):
    samples = [sample(1, "C"), sample(1, "I", epoch=2)]
    path = inspect_log(tmp_path / "a.eval", samples, eval={"config": {"epochs_reducer": ["mode"]}})
    found = read_scores(path, Choice())
    assert found.items[0].score == 0.5
    assert found.notes[0].endswith("its mean over 2 epochs, though the run reduced them by mode")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample(1, "C"), sample(1, "C")], "item '1' of epoch '1' comes twice"),
        ([sample(1, "C"), sample(1, "C", epoch=2), sample(2, "C")], "1 of 2 items have no score of epoch '2'"),
        ([sample(1, "C"), sample(2, "C", scores={}, error="boom\nline")], r"1 of 2 samples have no score .*'boom\\n"),
        ([sample(1, "C"), sample(2, "C", scores=None)], r"1 of 2 samples have no score \(first: '2'\)"),
        ([sample(1, "C"), sample(2, "C", scores={"f1": {"value": 1}})], "several metrics: 'match', 'f1'"),
        ([sample(1, "good")], r"sample 1, match: found a text \('good'\), expected a number, C, P, I or N"),
        ([sample(1, "nan")], "sample 1, match: found nan, expected a finite number"),
        ([sample(1, float("nan"))], "sample 1, match: found nan, expected a finite number"),
        ([sample(1, None)], "sample 1, match: found null, expected a number"),
        ([sample(None, "C")], "sample 1, id: found null"),
        ([sample(1, "C", epoch=0)], "epoch: found a number"),
        ([{"id": 1}], "sample 1: no 'epoch'"),
        ([7], "sample 1: no 'id'"),
        ([], "holds no samples"),
        ({}, "holds no samples"),
    ],
)
def test_samples_that_are_not_as_expected_are_refused(samples, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        scores(inspect_log(tmp_path / "a.eval", samples))


def test_a_metadata_key_that_is_missing_is_refused_with_those_that_there_are():
    with pytest.raises(UsageError, match=r"the metadata have no 'topic' \(--cluster\); their keys are 'first'"):
        scores(INSPECT / "steps900_deflated.eval", metric="match", cluster="topic")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"status": "error"}, "has the status 'error'; expected 'success'"),
        ({"invalidated": True}, "is marked as invalidated"),
        ({"eval": None}, "is no Inspect log"),
    ],
)
def test_runs_that_did_not_end_well_are_refused(header, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        scores(inspect_log(tmp_path / "a.eval", [sample(1, "C")], **header))


def test_other_json_and_other_archives_are_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"data": []}')
    (tmp_path / "b.eval").write_text("no zip")
    with zipfile.ZipFile(tmp_path / "c.eval", "w") as archive:
        archive.writestr("other.txt", "x")
    for name, message in (
        ("a.json", "is no Inspect log: it has no 'eval' and 'status'"),
        ("b.eval", "is no whole zip archive"),
        ("c.eval", "holds no header.json"),
    ):
        with pytest.raises(UsageError, match=message):
            scores(tmp_path / name)
    (tmp_path / "d.eval").mkdir()
    with pytest.raises(UsageError, match="holds no samples_"):
        scores(tmp_path / "d.eval")


def test_an_archive_that_unpacks_to_too_much_or_is_damaged_is_refused(tmp_path, monkeypatch):
    path = inspect_log(tmp_path / "a.eval", [sample(1, "C", input="0" * 100_000)])
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("summaries.json").header_offset + 60
    content[at] ^= 0xFF
    (tmp_path / "b.eval").write_bytes(content)
    with pytest.raises(UsageError, match=r"summaries.json cannot be unpacked"):
        scores(tmp_path / "b.eval")
    monkeypatch.setattr("thinwire.items.zip_members._MOST_MEMBER_BYTES", 50_000)
    with pytest.raises(UsageError, match="has more than 50,000 bytes"):
        scores(path)
