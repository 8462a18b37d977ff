"""The command line: output, error messages and exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from thinwire.results.arm_record import read_arm_record
from tiny_models import save_tiny, squad_document, write_squad

ROOT = Path(__file__).parents[2]
PLAN = str(ROOT / "experiments" / "phase1a_lora.yaml")


def thinwire(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "thinwire", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environment},
        check=False,
    )


def test_help_names_every_command():
    text = thinwire("--help").stdout
    assert all(name in text for name in ("fetch", "sweep", "train", "evaluate", "score", "compare", "export"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sweep", PLAN, "--set", "supervision.ce_wieght=1"], "did you mean 'ce_weight'"),
        (["sweep", PLAN, "--set", "training.epochs=-1"], "training.epochs"),
        (["sweep", PLAN, "--set", "epochs"], "--set takes path.to.key=value"),
        (["sweep", "no.yaml"], "no experiment file no.yaml"),
        (["sweep", PLAN, "--controls", "some"], "--controls takes auto, all or none"),
        (["sweep", PLAN, "--json"], "--json shows a plan, so it goes with --dry-run"),
        (["train", PLAN, "r4_a8_layers9"], "did you mean 'r4_a8_layers8'"),
        (["evaluate", "smollm2-135m", "--samples", "0"], "--samples takes a positive number or all"),
        (["evaluate", "no/such.gguf"], "no GGUF file no/such.gguf"),
        (["fetch", "squid"], "no asset called 'squid'"),
        (["score", "no.json", "squad"], "no predictions file no.json"),
        (["export", "nowhere", "out"], "is no arm's folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, expected, tmp_path):
    result = thinwire(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_score_prints_the_official_scores_and_counts_missing_as_wrong(tmp_path):
    data = write_squad(tmp_path / "data.json", num_articles=1, questions=4)
    # Golds are 0, 1, 2, 3: one right, one half right ("1 mills": precision 1/2, recall 1), one wrong, one missing.
    answers = {"0-0": "The 0!", "0-1": "1 mills", "0-2": "5", "elsewhere": "x"}
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    result = thinwire("score", tmp_path / "answers.json", data, "--json")
    assert json.loads(result.stdout) == {
        "exact_match": 25.0,
        "f1": pytest.approx(100 * (1 + 2 / 3) / 4),
        "total": 4,
    }
    assert "1 of 4 questions have no prediction" in result.stderr
    assert thinwire("score", tmp_path / "answers.json", data).stdout == "EM 25.00  F1 41.67  4 questions\n"


def test_unanswerable_questions_are_refused_or_dropped_as_asked(tmp_path):
    document = squad_document(num_articles=1, questions=2)
    document["data"][0]["paragraphs"][0]["qas"][0].update(answers=[], is_impossible=True)
    (tmp_path / "v2.json").write_text(json.dumps(document))
    (tmp_path / "answers.json").write_text('{"0-1": "1"}')
    refused = thinwire("score", tmp_path / "answers.json", tmp_path / "v2.json")
    assert refused.returncode == 2
    assert "1 unanswerable question, first " in refused.stderr
    dropped = thinwire("score", tmp_path / "answers.json", tmp_path / "v2.json", "--unanswerable", "drop", "--json")
    assert json.loads(dropped.stdout) == {"exact_match": 100.0, "f1": 100.0, "total": 1}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    save_tiny(folder / "model")
    write_squad(folder / "data.json")
    write_squad(folder / "test.json", num_articles=2, first=6)
    return folder


SMALL = ["--set", "data.selection_articles=2", "--set", "reconstruction.steps=10", "--set", "adapter.hidden=8"]


@pytest.mark.slow
def test_the_plans_script_passes_its_variables_on(tiny, tmp_path):
    # The environment is active, so the script neither makes nor changes one; with two layers only `full` arms fit.
    arms = "{baseline: {}, r8_a16_full: {lora: {rank: 8, alpha: 16, layers: all}}}"
    without = ["--set", f"arms={arms}", "--set", "interactions={}", "--controls", "none"]
    environment = {
        **os.environ,
        "VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV", sys.prefix),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "THINWIRE_CACHE": str(tmp_path / "cache"),
        "THINWIRE_NO_INSTALL": "1",
        "PYTHONPATH": ".",
        "SAMPLES": "9",
        "EPOCHS": "1",
        "BATCH_SIZE": "4",
        "MODEL": str(tiny / "model"),
        "DATASET": str(tiny / "data.json"),
        "EVAL_SAMPLES": "3",
        "OUTPUT_BASE": str(tmp_path / "out"),
    }
    script = ["bash", str(ROOT / "scripts" / "sweep_phase1a_lora.sh")]
    extra = [*SMALL, "--set", f"data.test={tiny / 'test.json'}", *without]
    result = subprocess.run([*script, *extra], capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    record = read_arm_record(tmp_path / "out" / "r8_a16_full")
    assert record.done.training.num_steps == 3  # 9 samples in batches of 4
    assert record.done.test.n == 3
    assert record.model.name == str(tiny / "model")
    assert "phase1a_lora_sweep" in result.stdout
    again = subprocess.run([*script, *extra], capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert again.returncode == 2
    assert "add --resume to continue it" in again.stderr


@pytest.mark.slow
def test_train_runs_one_arm_that_evaluate_and_compare_accept(tiny, tmp_path):
    settings = [
        *SMALL,
        *("--set", f"model.name={tiny / 'model'}", "--set", f"data.train={tiny / 'data.json'}"),
        *("--set", f"data.test={tiny / 'test.json'}", "--set", "data.samples=8", "--set", "training.epochs=1"),
        *("--set", "evaluation.samples=4", "--set", "model.device=cpu", "--set", "arms.mine.lora.rank=2"),
    ]
    cache = {"THINWIRE_CACHE": str(tmp_path / "cache")}
    trained = thinwire("train", PLAN, "mine", *settings, "-o", tmp_path / "run", **cache)
    assert trained.returncode == 0, trained.stderr
    assert {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()} == {"mine", "codec", ".workers"}
    arm = tmp_path / "run" / "mine"
    scored = thinwire("evaluate", arm, "--data", tiny / "data.json", "--samples", "4", "--json", **cache)
    assert json.loads(scored.stdout)["n"] == 4, scored.stderr
    rows = json.loads(thinwire("compare", tmp_path / "run", "--json").stdout)
    assert [row["name"] for row in rows] == ["mine"]


@pytest.mark.slow
def test_a_failed_arm_makes_the_sweep_exit_with_1(tiny, tmp_path):
    settings = [
        *SMALL,
        *("--set", f"model.name={tiny / 'model'}", "--set", f"data.train={tiny / 'data.json'}"),
        *("--set", f"data.test={tiny / 'test.json'}", "--set", "data.samples=4", "--set", "training.epochs=1"),
        *("--set", "arms={baseline: {}, wild: {training: {adapter_lr: 1.0e+30}}}", "--set", "evaluation.samples=2"),
        *("--set", "interactions={}"),
    ]
    result = thinwire("sweep", PLAN, *settings, "-o", tmp_path / "run", THINWIRE_CACHE=str(tmp_path / "cache"))
    assert result.returncode == 1
    assert "1 of 5 failed: wild" in result.stderr
    assert "wild failed: the rebuilt embeddings are too large or no numbers: the training diverged" in result.stderr


@pytest.mark.parametrize(
    ("typed", "completed"), [("thinwire swe", ["sweep"]), ("thinwire sweep mine.yaml --tra", ["--track"])]
)
def test_bash_completes_commands_and_options(typed, completed):
    run = "import sys; sys.argv = ['thinwire']; from thinwire.cli.main import main; main()"
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1), "_THINWIRE_COMPLETE": "complete_bash"}
    result = subprocess.run(
        [sys.executable, "-c", run], capture_output=True, text=True, env={**os.environ, **words}, check=False
    )
    assert (result.returncode, result.stdout.split(), result.stderr) == (0, completed, "")


def test_the_command_line_does_not_import_torch():
    code = "import sys; import thinwire.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_a_dry_run_shows_the_plan_and_writes_nothing(tiny, tmp_path):
    settings = [
        *("--set", "model.name=smollm2-135m", "--set", f"data.train={tiny / 'data.json'}"),
        *("--set", f"data.test={tiny / 'test.json'}", "--set", "data.selection_articles=2"),
    ]
    shown = thinwire("sweep", PLAN, *settings, "--dry-run", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert max(map(len, shown.stdout.splitlines())) <= 100
    assert "r16_a32_full" in shown.stdout
    printed = thinwire("sweep", PLAN, *settings, "--dry-run", "--json", cwd=tmp_path)
    assert json.loads(printed.stdout)["runs"][0]["name"] == "baseline"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_dry_run_exits_with_2_where_the_sweep_would(tiny, tmp_path):
    settings = ["--set", f"data.train={tiny / 'data.json'}", "--set", f"data.test={tiny / 'test.json'}"]
    settings += ["--set", "data.selection_articles=2", "--set", "supervision.ce_weight=0"]
    result = thinwire("sweep", PLAN, *settings, "--dry-run", cwd=tmp_path)
    assert result.returncode == 2
    assert "12 of 17 would fail: r4_a8_layers8" in result.stderr  # ten arms, text_lora and uncompressed_lora
    assert "nothing would train LoRA" in " ".join(result.stdout.split())
