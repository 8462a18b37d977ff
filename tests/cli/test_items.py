"""`verdict` and `compare` on files of scores: what they print, and how they say no."""

import csv
import io
import json
import re
import shlex
from pathlib import Path

import pytest

from item_files import INSPECT, LM_EVAL, write_scores
from sweep_folder import write_run

RISING = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]


@pytest.fixture
def files(tmp_path):
    """A baseline of eight items, and two treatments: much better, and the same."""
    scores = {"base": [0.0] * 8, "better": RISING, "same": [0.0] * 8}
    return [write_scores(tmp_path / f"{name}.jsonl", found) for name, found in scores.items()]


def test_verdict_says_means_difference_interval_and_a_verdict_of_each_treatment(files, thinwire):
    code, out, err = thinwire("verdict", *files)
    assert (code, err) == (0, "")
    first, better, same, legend = out.strip().split("\n\n")
    assert first == "base (baseline): mean 0.0000"
    assert better.splitlines()[0] == "better: Better than the baseline: strong"
    assert better.splitlines()[1] == "  mean 0.4500"
    lesson = " ".join(better.split())
    assert "better is at least 10 points better than the baseline: better gains +45.0 points" in lesson
    assert "(95% interval over all treatments " in lesson
    assert max(map(len, out.splitlines())) <= 110
    assert same.splitlines()[0] == "same: Not resolved: the estimate is below 2 points, the data do not settle it"
    # No item differs: with half of 5 % each, less than 1 - 0.025^(1/8) = 36.9 % do.
    assert "gains +0.0 points over the baseline (95% interval over all treatments -36.9 to +36.9, 8 items; no" in (
        " ".join(same.split())
    )
    assert same.splitlines()[-1] == "  Evaluate more items: the results so far do not say how many items would do."
    assert legend.splitlines() == [
        "8 items, paired; metric score; baseline base",
        "differences, intervals and tiers are in points: hundredths of the score's range, 0 to 1",
        "tiers: marginal from 2, significant from 5, strong from 10",
        "intervals hold at 95% for all results together (p: adjusted by Holm) and cover the choice of items",
    ]
    assert "question" not in out
    assert "paragraph" not in out


def test_verdict_of_json_has_fractions_and_what_would_resolve_it(files, thinwire):
    code, out, _ = thinwire("verdict", *files, "--json")
    found = json.loads(out)
    better, same = found["treatments"]
    assert code == 0
    assert (found["baseline"]["name"], found["baseline"]["mean"], found["items"], found["clusters"]) == (
        "base",
        0,
        8,
        None,
    )
    assert (better["mean"], better["difference"], better["tier"], better["helps"]) == (
        *(pytest.approx(0.45), pytest.approx(0.45), "strong", True),
    )
    assert better["p_adjusted"] == pytest.approx(2 * better["p"])  # Holm: the smaller of two
    assert (same["tier"], same["helps"], same["outcome"], same["items_needed"]) == (
        *("unresolved", False, "no difference", None),
    )
    assert found["tiers"] == {"marginal": 2, "significant": 5, "strong": 10}


def test_compare_prints_a_table_csv_or_json_of_the_same_files(files, thinwire):
    code, out, _ = thinwire("compare", *files)
    head, base, better, same = (line.split() for line in out.splitlines()[:4])
    assert code == 0
    assert head == ["result", "mean", "vs", "base", "interval", "p", "tier"]
    assert base == ["base", "0.0000", "-", "-", "-", "-"]
    assert (better[:3], better[-1]) == (["better", "0.4500", "+45.0"], "strong")
    assert (same[:6], same[-1]) == (["same", "0.0000", "+0.0", "-36.9", "to", "+36.9"], "unresolved")
    assert out.endswith("\nnote: same: no difference in all 8 items: the interval is a bound\n")
    rows = list(csv.DictReader(io.StringIO(thinwire("compare", *files, "--csv")[1])))
    assert [(row["name"], row["metric"], row["tier"]) for row in rows] == [
        *(("base", "score", ""), ("better", "score", "strong"), ("same", "score", "unresolved")),
    ]
    assert (rows[0]["difference"], float(rows[1]["difference"]), rows[2]["mean"]) == ("", pytest.approx(0.45), "0.0")
    assert json.loads(thinwire("compare", *files, "--json")[1]) == json.loads(thinwire("verdict", *files, "--json")[1])


def test_real_runs_of_lm_eval_are_compared_by_their_folders(thinwire):
    folders = [LM_EVAL / name for name in ("steps100", "steps250", "steps900")]
    code, out, err = thinwire("compare", *folders, "--task", "sums", "--cluster", "a")
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()[1:4]] == [
        *(["steps100", "0.3750"], ["steps250", "0.9688"], ["steps900", "1.0000"]),
    ]
    assert "32 items in 8 clusters, paired; metric acc,none; baseline steps100" in out


def test_real_logs_of_inspect_are_compared(thinwire):
    logs = [f"{name}={INSPECT / f'{name}_deflated.eval'}" for name in ("steps100", "steps900")]
    code, out, _ = thinwire("verdict", *logs, "--metric", "match")
    assert code == 0
    first, second, *_ = out.split("\n\n")
    assert first == "steps100 (baseline): mean 0.1875"
    assert second.startswith("steps900: Better than the baseline: at least significant, the estimate is strong\n")
    # 3 of 16 were right before and all are now: 13 gain the whole scale, which is what most have in common.
    bound = "only 3 of 16 items differ from the common difference, +100.0 points: the interval is a bound"
    assert bound in " ".join(second.split())


def test_tiers_scale_and_confidence_can_be_set(files, thinwire):
    options = ["--marginal", 20, "--significant", 60, "--strong", 90, "--confidence", 0.8, "--scale", "0:2"]
    _, out, _ = thinwire("compare", *files, *options)
    better = out.splitlines()[2].split()
    assert (better[2], better[-1]) == ("+22.5", "unresolved")
    assert "range, 0 to 2\ntiers: marginal from 20, significant from 60, strong from 90" in out
    assert "intervals hold at 80%" in out


GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "comparing.md"


def test_the_guide_shows_what_its_commands_print(thinwire, monkeypatch):
    monkeypatch.chdir(GUIDE.parents[2])
    page = GUIDE.read_text(encoding="utf-8")
    shown = re.findall(r"^```console\n\$ thinwire (.*?)\n(.*?)^```", page, re.M | re.S)
    assert len(shown) >= 3
    for command, output in shown:
        assert thinwire(*shlex.split(command)) == (0, output, "")


# Mistakes


def one_line(code, out, err):
    """A request that cannot be carried out: exit code 2 and one line."""
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1, err
    return err


def test_what_cannot_be_compared_is_a_mistake(files, tmp_path, thinwire):
    run = write_run(tmp_path / "run")
    for arguments, message in (
        (["verdict", files[0]], "needs a baseline and at least one other result"),
        (["verdict", files[0], files[0]], "is given twice; name each result once"),
        (["verdict", files[0], tmp_path / "nothing.csv"], "no file or folder"),
        (["verdict", files[0], run], "is the folder of a sweep; `thinwire report "),
        (["compare", files[0], run], "is the folder of a sweep and "),
        (["compare", files[0], files[1], "--sort", "score"], "--sort is for sweeps"),
        (["compare", run, "--metric", "score"], "--metric is for files of scores, and these are folders of sweeps"),
        (["compare", run, "--lower-is-better"], "--lower-is-better is for files of scores"),
        (["verdict", *files, "--scale", "100"], "--scale takes LOW:HIGH, such as 0:100, got '100'"),
        (["verdict", *files, "--marginal", 7], "thresholds must rise, not 7, 5, 10"),
        (["verdict", *files, "--confidence", 1], "confidence: Input should be less than 1"),
        (["compare", LM_EVAL / "steps100", LM_EVAL / "steps250"], "holds several tasks: 'sums', 'written_sums'"),
    ):
        assert message in one_line(*thinwire(*arguments))


def test_arms_of_a_sweep_are_compared_by_their_folders(tmp_path, thinwire):
    run = write_run(tmp_path / "run")
    code, out, err = thinwire("verdict", run / "controls" / "text_lora", run / "r16_a32_full")
    assert (code, err) == (0, "")
    assert out.startswith("text_lora (baseline): mean 0.9688\n\nr16_a32_full: ")
    assert "16 items in 8 clusters, paired; metric F1; baseline text_lora" in out
    lines = thinwire("compare", run / "baseline", run / "r16_a32_full")[1].splitlines()
    assert lines[2].startswith("r16_a32_full 0.6875")


def test_names_are_given_or_of_the_files_and_files_of_one_name_are_its_seeds(files, tmp_path, thinwire):
    (tmp_path / "other").mkdir()
    twin = write_scores(tmp_path / "other" / "base.jsonl", RISING)
    code, out, _ = thinwire("compare", files[0], twin)
    assert (code, [line.split()[0] for line in out.splitlines()[1:3]]) == (0, [str(files[0]), str(twin)])
    seeds = [f"two={files[1]}", f"two={twin}"]
    found = json.loads(thinwire("verdict", f"old={files[0]}", *seeds, "--json")[1])
    assert (found["baseline"]["name"], found["baseline"]["runs"]) == ("old", 1)
    assert [(one["name"], one["runs"]) for one in found["treatments"]] == [("two", 2)]


def test_a_name_cannot_act_on_the_terminal(files, thinwire):
    assert "cannot be printed" in one_line(*thinwire("verdict", files[0], f"\x1b[2J={files[1]}"))
