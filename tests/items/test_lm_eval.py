import json
import shutil
from statistics import fmean

import pytest

from item_files import LM_EVAL, lm_eval_results, lm_eval_samples, write_lines
from thinwire.errors import UsageError
from thinwire.items.formats import read_scores
from thinwire.items.item_scores import Choice


@pytest.mark.parametrize("model", ["steps100", "steps250", "steps900"])
def test_the_mean_over_the_items_of_a_run_is_the_tools_own_result(model):
    found = read_scores(lm_eval_samples(model, "sums"), Choice())
    assert (found.metric, len(found.items)) == ("acc,none", 32)
    assert fmean(item.score for item in found.items) == lm_eval_results(model, "sums")["acc,none"]


@pytest.mark.parametrize("metric", ["exact_match,whole-answer", "exact_match,first-number"])
def test_one_filter_of_several_is_chosen_by_the_name_that_the_tool_gives_its_metric(metric):
    found = read_scores(LM_EVAL / "steps250", Choice(task="written_sums", metric=metric))
    assert len(found.items) == 8
    assert fmean(item.score for item in found.items) == lm_eval_results("steps250", "written_sums")[metric] == 0.875


def test_a_file_and_the_folders_that_hold_it_are_the_same(tmp_path):
    whole = read_scores(LM_EVAL / "steps900", Choice())
    shutil.copytree(LM_EVAL / "steps900", tmp_path / "out" / "steps900")
    assert read_scores(tmp_path / "out", Choice()).items == whole.items
    assert read_scores(lm_eval_samples("steps900", "sums"), Choice()).items == whole.items


def test_clusters_are_a_field_of_the_documents():
    found = read_scores(lm_eval_samples("steps100", "sums"), Choice(cluster="a"))
    assert [item.cluster for item in found.items] == [str(a) for a in range(1, 9) for _ in range(4)]
    with pytest.raises(UsageError, match=r"the document has no field 'topic' \(--cluster\); its fields are 'a', 'b'"):
        read_scores(lm_eval_samples("steps100", "sums"), Choice(cluster="topic"))
    with pytest.raises(UsageError, match=r"doc.choices: found a list, expected a text or an integer"):
        read_scores(lm_eval_samples("steps100", "sums"), Choice(cluster="choices"))


def test_several_tasks_metrics_or_filters_need_a_choice():
    folder = LM_EVAL / "steps100"
    for choice, message in (
        (Choice(), "holds several tasks: 'sums', 'written_sums'; choose with --task"),
        (Choice(task="products"), "has no task 'products'; choose --task among 'sums', 'written_sums'"),
        (Choice(task="written_sums"), "has several metrics: 'exact_match,whole-answer', 'exact_match,first-number'"),
        (Choice(task="written_sums", metric="exact_match"), "has no metric 'exact_match'; choose --metric among"),
        (Choice(task="sums", metric="f1"), "has no metric 'f1'; choose --metric among 'acc,none'"),
        (Choice(task="sums", metric="brier_score"), "'brier_score' has no number for each item"),
    ):
        with pytest.raises(UsageError, match=message):
            read_scores(folder, choice)
    assert read_scores(folder, Choice(task="sums", metric="acc")).metric == "acc,none"


def row(number, task_filter="none", **metrics):
    return {"doc_id": number, "doc": {"text": "?"}, "resps": [], "filter": task_filter, "doc_hash": "h"} | metrics


def test_a_pattern_takes_several_tasks_as_one_result_in_which_each_item_counts_once(tmp_path):
    for task, scores in (("mmlu_law", [1.0, 0.0]), ("mmlu_art", [0.5])):
        rows = [row(i, acc=score, metrics=["acc"]) for i, score in enumerate(scores)]
        write_lines(tmp_path / f"samples_{task}_2026-01-02T03-04-05.678.jsonl", rows)
    found = read_scores(tmp_path, Choice(task="mmlu_*", cluster="text"))
    assert [(item.id, item.score, item.cluster) for item in found.items] == [
        ("mmlu_art/0", 0.5, "mmlu_art/?"),
        ("mmlu_law/0", 1.0, "mmlu_law/?"),
        ("mmlu_law/1", 0.0, "mmlu_law/?"),
    ]


def test_two_runs_of_a_task_in_one_folder_are_refused(tmp_path):
    for date in ("2026-01-02T03-04-05", "2026-01-03T03-04-05"):
        write_lines(tmp_path / f"samples_sums_{date}.jsonl", [row(0, acc=1.0)])
    with pytest.raises(UsageError, match=r"holds 2 runs of task 'sums': .*; name one file"):
        read_scores(tmp_path, Choice())


def test_samples_of_earlier_versions_name_no_metrics(tmp_path):
    path = write_lines(tmp_path / "samples.jsonl", [row(0, acc=1.0) | {"target": "1"}])
    assert read_scores(path, Choice()).metric == "acc,none"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acc": None}, "line 2, acc: found null, expected a number"),
        ({"acc": "NaN"}, "line 2, acc: found a text"),
        ({"acc": float("nan")}, "line 2, acc: found nan, expected a finite number"),
        ({"doc_id": 0}, r"item '0' comes twice \(line 1 and line 2\)"),
        ({"doc_id": None}, "line 2, doc_id: found null, expected a text or an integer"),
        ({"filter": ["x"]}, "line 2, filter: expected a name"),
        ({"metrics": "acc", "filter": "x"}, "line 2, metrics: expected a list of names"),
    ],
)
def test_a_damaged_sample_is_refused(change, message, tmp_path):
    path = write_lines(tmp_path / "samples.jsonl", [row(0, acc=1.0), row(1, acc=0.0) | change])
    with pytest.raises(UsageError, match=message):
        read_scores(path, Choice())


def test_infinities_where_no_score_is_read_do_no_harm(tmp_path):
    path = write_lines(tmp_path / "samples.jsonl", [row(0, acc=1.0) | {"resps": [[float("-inf"), False]]}])
    assert "-Infinity" in json.dumps(json.loads(path.read_text()))
    assert read_scores(path, Choice()).items[0].score == 1.0
