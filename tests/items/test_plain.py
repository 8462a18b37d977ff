import json

import pytest

from item_files import write_lines, write_scores
from thinwire.errors import UsageError
from thinwire.items.formats import read_scores
from thinwire.items.item_scores import Choice

NO_CHOICE = Choice()


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def found(path, **choice):
    return [(*item[:2], item.cluster, item.run) for item in read_scores(path, Choice(**choice)).items]


def test_json_lines_and_csv_of_the_same_scores_are_the_same(tmp_path):
    rows = [{"id": "a", "score": 0.5, "cluster": "x", "seed": 1}, {"id": "7", "score": 1, "cluster": "y", "seed": 1}]
    lines = write_lines(tmp_path / "a.jsonl", rows)
    text = "id, score,cluster,seed\r\na,0.5,x,1\r\n\r\n7,1e0,y,1\r\n"
    assert found(lines) == found(write(tmp_path / "a.csv", text)) == [("a", 0.5, "x", "1"), ("7", 1.0, "y", "1")]


def test_ids_can_be_integers_and_true_is_1(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"id": 3, "score": true}\n\n{"id": 4, "score": false}\n')
    assert found(path) == [("3", 1.0, None, ""), ("4", 0.0, None, "")]


def test_digits_of_ids_in_csv_stay_as_they_are(tmp_path):
    path = write(tmp_path / "a.csv", "id,score\n007,1\n7,0\n1e2,.5\n")
    assert [id_ for id_, *_ in found(path)] == ["007", "7", "1e2"]


def test_the_columns_of_score_and_cluster_can_be_named(tmp_path):
    rows = [{"id": "a", "f1": 0.25, "paragraph_id": "p", "exact_match": 0}]
    path = write_lines(tmp_path / "predictions.jsonl", rows)
    assert found(path, metric="f1", cluster="paragraph_id") == [("a", 0.25, "p", "")]
    with pytest.raises(UsageError, match=r"no column 'score'; .*choose the score with --metric: 'f1', 'exact_match'"):
        found(path)
    with pytest.raises(UsageError, match=r"no column 'topic' \(--cluster\)"):
        found(path, metric="f1", cluster="topic")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,points\n1,x\n", "no column 'score'; its columns are 'id', 'points'; add it"),
        ("id;score\n1;0\n", "no column 'id'; its columns are 'id;score'"),
        ("id,score,id\n1,0,1\n", "column 'id' comes twice"),
        ("id,score\n1,0\n1,1\n", r"item '1' comes twice \(line 2 and line 3\); keep one score an item, or"),
        (
            "id,score,seed\n1,0,a\n1,1,a\n",
            r"item '1' of seed 'a' comes twice \(line 2 and line 3\); keep",
        ),
        ("id,score,seed\n1,0,a\n1,1,b\n2,1,b\n", r"1 of 2 items have no score of seed 'a' \(first: '2'\)"),
        ("id,score,cluster,seed\n1,0,x,a\n1,1,y,b\n", r"item '1' is in cluster 'x' and in 'y' \(line 3\)"),
        ("id,score\n1,\n", r"line 2, score: found a text \(''\), expected a number"),
        ("id,score\n1,good\n", r"line 2, score: found a text \('good'\), expected a number"),
        ("id,score\n1,nan\n", "expected a number"),
        ("id,score\n1,1e999\n", "found inf, expected a finite number"),
        ("id,score\n1,0x1\n", "expected a number"),
        ("id,score\n1,1_0\n", "expected a number"),
        ("id,score\n,1\n", "line 2, id: found a blank text"),
        ("id,score\n1,0,2\n", "line 2: found 3 cells, expected 2"),
        ('id,score\n"1,0\n', "line 2: no table"),
        ("id,score\n", "holds no item"),
        ("", "is empty"),
    ],
)
def test_a_csv_that_is_not_as_expected_is_refused_with_what_was_found(text, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        read_scores(write(tmp_path / "a.csv", text), NO_CHOICE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a", "score": NaN}', "line 1, score: found nan, expected a finite number"),
        ('{"id": "a", "score": "0.5"}', r"line 1, score: found a text \('0.5'\), expected a number"),
        ('{"id": "a", "score": null}', "line 1, score: found null, expected a number"),
        ('{"id": "a", "score": [1]}', "line 1, score: found a list, expected a number"),
        ('{"id": true, "score": 1}', "line 1, id: found true, expected a text or an integer"),
        ('{"id": "a", "id": "b", "score": 1}', "the key 'id' stands twice"),
        ('{"id": "a", "score": 1}\n{"id": "b"}', "line 2: no 'score', which the rows before have"),
        (
            '{"id": "a", "score": 1}\n{"id": "b", "score": 1, "cluster": "x"}',
            "line 2: a cluster, which the rows",
        ),
        ('{"id": "a", "score": 1}\n{"id": "b", "score": 1, "seed": 1}', "line 2: a seed, which the rows before lack"),
        ("[1]", "line 1: found a list, expected an object"),
        ('{"id": "a", "score": 1', "no JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_jsonl_that_is_not_as_expected_is_refused_with_what_was_found(text, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        read_scores(write(tmp_path / "a.jsonl", text), NO_CHOICE)


def test_other_formats_and_missing_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="none of the formats that can be compared: the folder of an arm of a sweep; "):
        read_scores(write(tmp_path / "a.txt", "1"), NO_CHOICE)
    with pytest.raises(UsageError, match="no file or folder"):
        read_scores(tmp_path / "nothing.csv", NO_CHOICE)
    (tmp_path / "a.jsonl").write_bytes(b"\x1f\x8b123")
    with pytest.raises(UsageError, match="is gzip data"):
        read_scores(tmp_path / "a.jsonl", NO_CHOICE)
    with pytest.raises(UsageError, match="--task is for folders of lm-eval"):
        read_scores(write_scores(tmp_path / "b.jsonl", [1.0]), Choice(task="sums"))


def test_more_items_than_can_be_compared_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("thinwire.items.item_scores.MOST_ITEMS", 2)
    with pytest.raises(UsageError, match="has more than 2 scores"):
        read_scores(write_scores(tmp_path / "a.jsonl", [1.0, 0.0, 0.0]), NO_CHOICE)


def test_a_line_that_is_too_long_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr("thinwire.row_files._MOST_JSON_LINE_BYTES", 100)
    path = write(tmp_path / "a.jsonl", json.dumps({"id": "a" * 200, "score": 1}))
    with pytest.raises(UsageError, match="line 1: has more than 100 bytes"):
        read_scores(path, NO_CHOICE)
