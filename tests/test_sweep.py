"""Whole sweeps of a tiny model: what they leave, how they resume, and what they refuse."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from doubles import save_sweep_inputs
from thinwire import arm as arm_module
from thinwire.config import Experiment, build
from thinwire.errors import ThinwireError, UsageError
from thinwire.finished import find_arm, opened
from thinwire.model import load
from thinwire.plan import plan
from thinwire.precision import fast_dtype
from thinwire.progress import Display
from thinwire.reader import Reader
from thinwire.sweep import run_sweep
from thinwire.workbench import Workbench

PLAN_FILE = Path(__file__).parents[1] / "experiments" / "phase1a_lora.yaml"

# EXPERIMENT.md, "Best configuration", to the letter.
ONE_LINER = """
import json, glob
from pathlib import Path
results = []
for f in glob.glob('runs/phase1a_lora_sweep/*/diagnostics.jsonl'):
    config = Path(f).parent.name
    best_f1 = 0
    with open(f) as fp:
        for line in fp:
            try:
                data = json.loads(line)
                best_f1 = max(best_f1, data.get('text_f1', 0))
            except: pass
    results.append((config, best_f1))
results.sort(key=lambda x: x[1], reverse=True)
print(f'Best: {results[0][0]} with F1={results[0][1]:.1%}')
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_sweep_inputs(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _own_cache(folder, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(folder / "cache"))


def experiment(folder, **changes):
    settings = {
        "name": "phase1a_lora_sweep",
        "model": {"name": str(folder / "model"), "device": "cpu", "dtype": "float32"},
        "data": {
            "train": str(folder / "train.json"),
            "test": str(folder / "test.json"),
            "samples": 12,
            "selection_articles": 2,
        },
        "adapter": {"hidden": 16},
        "reconstruction": {"steps": 30, "batch_rows": 64},
        "training": {"epochs": 2, "batch_size": 8},
        "evaluation": {"samples": 6, "selection_samples": 5, "max_new_tokens": 4},
        "arms": {"baseline": {}, "r2": {"lora": {"rank": 2, "alpha": 4, "layers": 1}}},
        "controls": {"codec_only": {"reads": "codec"}, "text_lora": {"reads": "text", "lora": {"rank": 2}}},
    }
    return build(Experiment, {**settings, **changes}, where="")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def timeless(path):
    """Its rows without what depends on the clock."""
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in lines(path)]


@pytest.fixture(scope="module")
def swept(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THINWIRE_CACHE", str(folder / "cache"))
        target = folder / "work" / "runs" / "phase1a_lora_sweep"
        return target, run_sweep(experiment(folder), target, controls="all")


def test_a_sweep_leaves_the_files_the_plan_names(swept):
    run, records = swept
    assert [record["status"] for record in records] == ["done"] * 4
    for name in ("baseline", "r2", "controls/codec_only", "controls/text_lora"):
        arm = run / name
        assert len(list(arm.glob("training_*.log"))) == 1
        assert {"diagnostics.jsonl", "predictions.jsonl", "record.json"} <= {path.name for path in arm.iterdir()}
    assert {"experiment.yaml", "sweep.json", "sweep_summary.txt", "compare_results.py", "codec"} <= {
        path.name for path in run.iterdir()
    }
    assert len(list((run / "codec").iterdir())) == 1, "one codec, shared"


def test_diagnostics_hold_every_step_and_every_evaluation(swept):
    run, _ = swept
    rows = lines(run / "r2" / "diagnostics.jsonl")
    assert [row["event"] for row in rows] == ["step", "step", "evaluation"] * 2 + ["evaluation"]
    assert [row["step"] for row in rows if row["event"] == "step"] == [1, 2, 3, 4]
    assert [(row["split"], "text_f1" in row) for row in rows if row["event"] == "evaluation"] == [
        ("selection", True),
        ("selection", True),
        ("test", False),
    ]
    assert set(rows[0]) == {"event", "step", "epoch", "loss", "cosine", "relative_mse", "ce", "kd"} | {
        "lr_adapter",
        "lr_lora",
        "grad_norm_adapter",
        "grad_norm_lora",
        "tokens_per_second",
    }


def test_a_record_says_where_its_figures_come_from(swept):
    run, _ = swept
    record = json.loads((run / "r2" / "record.json").read_text())
    assert record["config"]["lora"]["rank"] == 2
    # Rank 2, one layer of width 32 with 16 key-value channels: 2 x (64 + 48 + 48 + 64).
    assert record["trainable_parameters"]["lora"] == 2 * 224
    assert record["test"]["n"] == 6
    assert record["selection"]["n"] == 5
    assert record["training"]["num_steps"] == 4
    assert record["environment"]["packages"]["torch"]
    assert set(record["data"]) == {"train", "selection", "test"}
    predictions = lines(run / "r2" / "predictions.jsonl")
    assert record["test"]["f1"] == pytest.approx(sum(p["f1"] for p in predictions) / 6)
    assert len({p["id"] for p in predictions}) == 6


def test_no_article_is_both_trained_on_and_chosen_by(folder):
    made = experiment(folder)
    bench = Workbench(made, load(made.model), folder / "codec", Display())
    questions = bench.questions(bench.resolve(made.arm("r2")))
    assert not {q.article for q in questions.train} & {q.article for q in questions.selection}
    assert len({q.article for q in questions.selection}) == 2


def test_arms_share_their_questions_data_order_and_starting_adapter(swept):
    run, _ = swept
    baseline, r2 = (json.loads((run / name / "record.json").read_text()) for name in ("baseline", "r2"))
    assert baseline["data"] == r2["data"]
    assert baseline["reconstruction_at_start"] == r2["reconstruction_at_start"]
    first = [lines(run / name / "diagnostics.jsonl")[0] for name in ("baseline", "r2")]
    # LoRA starts as zero, so the first step's loss is the same in both arms, on the same batch.
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-5)


def test_the_plans_one_liner_gives_the_arm_chosen_on_the_selection_split(swept):
    run, records = swept
    # Make the test split prefer the other arm: it must have no say.
    said = subprocess.run(
        [sys.executable, "-c", ONE_LINER], cwd=run.parents[1], capture_output=True, text=True, check=True
    ).stdout
    arms = [record for record in records if record["kind"] == "arm"]
    best = max(record["selection"]["f1"] for record in arms)
    name, figure = re.fullmatch(r"Best: (\w+) with F1=([\d.]+)%\n", said).groups()
    assert next(record for record in arms if record["name"] == name)["selection"]["f1"] == best
    assert float(figure) == pytest.approx(100 * best, abs=0.05)


def test_compare_results_runs_on_a_bare_python(swept):
    run, _ = swept
    said = subprocess.run(
        [sys.executable, "-I", "-S", str(run / "compare_results.py")], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"^[* ] baseline ", said, re.MULTILINE)
    assert re.search(r"^[* ] r2 ", said, re.MULTILINE)
    assert "codec_only" in said.split("Controls")[1]


def test_a_second_run_into_the_folder_is_refused_and_changes_nothing(folder, swept):
    run, _ = swept
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"holds the results of a sweep.*--resume"):
        run_sweep(experiment(folder), run, controls="all")
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_resuming_keeps_what_is_done_and_adds_a_new_arm(folder, swept):
    run, _ = swept
    record = run / "r2" / "record.json"
    before = record.read_bytes()
    more = experiment(folder)
    more = more.model_copy(update={"arms": {**more.arms, "r1": {"lora": {"rank": 1}}}})
    records = run_sweep(more, run, resume=True, controls="all")
    assert [r["name"] for r in records] == ["baseline", "r2", "r1", "codec_only", "text_lora"]
    assert record.read_bytes() == before
    assert (run / "r1" / "record.json").exists()


def test_resuming_with_other_settings_is_refused_and_they_are_named(folder, swept):
    run, _ = swept
    with pytest.raises(UsageError, match=r"other settings \(supervision\)"):
        run_sweep(experiment(folder, supervision={"ce_weight": 0.5}), run, resume=True)


def test_a_finished_arm_of_other_settings_is_never_mixed_in(folder, tmp_path):
    run_sweep(experiment(folder), tmp_path / "run", only=["r2"])
    changed = experiment(folder, arms={"baseline": {}, "r2": {"lora": {"rank": 3, "alpha": 4, "layers": 1}}})
    with pytest.raises(ThinwireError, match=r"r2 was finished with other settings \(lora\)"):
        run_sweep(changed, tmp_path / "run", resume=True, only=["r2"])


def test_one_arms_failure_is_recorded_and_the_others_run(folder, tmp_path):
    broken = experiment(
        folder,
        arms={
            "baseline": {},
            "wild": {"training": {"adapter_lr": 1e30, "epochs": 2}},
            "deep": {"lora": {"rank": 2, "layers": 9}},
        },
        controls={},
    )
    records = {record["name"]: record for record in run_sweep(broken, tmp_path / "run")}
    assert {name: record["status"] for name, record in records.items()} == {
        "baseline": "done",
        "wild": "failed",
        "deep": "failed",
    }
    assert "became" in records["wild"]["error"]
    assert "the model has 2 layers" in records["deep"]["error"]
    assert "test" not in records["wild"], "a failure is never a zero"
    summary = (tmp_path / "run" / "sweep_summary.txt").read_text()
    assert re.search(r"^  wild +- +failed", summary, re.MULTILINE)
    assert "Traceback" in next((tmp_path / "run" / "deep").glob("training_*.log")).read_text()


def test_an_interrupted_arm_is_recorded_set_aside_and_run_again(folder, tmp_path, monkeypatch):
    real, calls = arm_module.append_jsonl, []

    def interrupt(path, row):
        real(path, row)
        calls.append(row)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(arm_module, "append_jsonl", interrupt)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_sweep(experiment(folder), run, only=["r2"])
    assert json.loads((run / "r2" / "record.json").read_text())["status"] == "cancelled"
    monkeypatch.undo()
    monkeypatch.setenv("THINWIRE_CACHE", str(folder / "cache"))
    (record,) = run_sweep(experiment(folder), run, only=["r2"], resume=True)
    assert record["status"] == "done"
    assert len(lines(run / "unfinished" / "r2-1" / "diagnostics.jsonl")) == 3
    assert len(lines(run / "r2" / "diagnostics.jsonl")) == 7, "nothing of the first try is mixed in"


@pytest.mark.parametrize("lines_before", [5, 6, 7])
def test_an_arm_interrupted_after_an_epoch_goes_on_and_ends_as_if_it_had_not_been(
    lines_before, folder, swept, tmp_path, monkeypatch
):
    """Two steps and a selection an epoch, then the test: it is stopped after its last step, its last selection, or the
    test."""
    real, calls = arm_module.append_jsonl, []

    def interrupt(path, row):
        real(path, row)
        calls.append(row)
        if len(calls) == lines_before:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(arm_module, "append_jsonl", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(experiment(folder), run, only=["r2"])
    assert (run / "r2" / "unfinished.safetensors").exists()
    (record,) = run_sweep(experiment(folder), run, only=["r2"], resume=True)
    whole = swept[0] / "r2"
    assert timeless(run / "r2" / "diagnostics.jsonl") == timeless(whole / "diagnostics.jsonl")
    assert (run / "r2" / "predictions.jsonl").read_text() == (whole / "predictions.jsonl").read_text()
    assert record["selection"] == json.loads((whole / "record.json").read_text())["selection"]
    assert record["status"] == "done"
    assert not (run / "unfinished").exists()
    assert not (run / "r2" / "unfinished.safetensors").exists()


@pytest.mark.parametrize(("scores", "best", "num_tables"), [([0.9, 0.1], 1, 3), ([0.1, 0.9], 2, 2)])
def test_the_test_reads_the_best_epochs_table_which_is_not_built_again_after_the_last(
    scores, best, num_tables, folder, tmp_path, monkeypatch
):
    real, selections, tables = arm_module.summarize, iter(scores), []
    build_table = Reader.table

    def scored(predictions):
        return {**real(predictions), "f1": next(selections, 0.0)}

    def built(reader, dtype):
        tables.append(build_table(reader, dtype))
        return tables[-1]

    fast = {"epochs": 2, "batch_size": 8, "adapter_lr": 0.1}
    with monkeypatch.context() as patch:
        patch.setattr(arm_module, "summarize", scored)
        patch.setattr(Reader, "table", built)
        (record,) = run_sweep(experiment(folder, training=fast), tmp_path / "run", only=["baseline"])
    assert record["training"]["best_epoch"] == best
    assert len(tables) == num_tables
    assert not torch.equal(tables[0], tables[1])
    _, reader = opened(find_arm(tmp_path / "run" / "baseline", "cpu"))
    assert torch.equal(tables[-1], reader.table(torch.float32)), "the checkpoint's"


def test_an_unfinished_arm_of_other_settings_starts_again(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(arm_module, "write_jsonl", interrupted)  # of the test's predictions
        with pytest.raises(KeyboardInterrupt):
            run_sweep(experiment(folder), run, only=["r2"])
    changed = experiment(folder, arms={"baseline": {}, "r2": {"lora": {"rank": 3, "alpha": 4, "layers": 1}}})
    (record,) = run_sweep(changed, run, only=["r2"], resume=True)
    assert record["status"] == "done"
    assert (run / "unfinished" / "r2-1" / "unfinished.safetensors").exists()


def interrupted(*_):
    raise KeyboardInterrupt


def test_a_killed_arm_leaves_no_record_and_counts_as_not_done(folder, tmp_path):
    run = tmp_path / "run"
    run_sweep(experiment(folder), run, only=["r2"])
    (run / "r2" / "record.json").unlink()  # what a kill would leave: all but the mark that is written last
    (record,) = run_sweep(experiment(folder), run, only=["r2"], resume=True)
    assert record["status"] == "done"
    assert (run / "unfinished" / "r2-1" / "predictions.jsonl").exists()


def test_same_seed_same_machine_gives_identical_diagnostics(folder, swept, tmp_path):
    run, _ = swept
    run_sweep(experiment(folder), tmp_path / "again", only=["r2"])
    again = tmp_path / "again" / "r2"
    assert timeless(run / "r2" / "diagnostics.jsonl") == timeless(again / "diagnostics.jsonl")
    assert (run / "r2" / "predictions.jsonl").read_text() == (again / "predictions.jsonl").read_text()


def test_the_starting_adapter_is_cached_by_all_that_made_it(folder, tmp_path, monkeypatch):
    adapters = folder / "cache" / "adapters"
    run_sweep(experiment(folder), tmp_path / "a", only=["baseline"])
    before = set(adapters.glob("*.safetensors"))
    run_sweep(experiment(folder), tmp_path / "b", only=["baseline"])
    assert set(adapters.glob("*.safetensors")) == before, "the same content, the same entry"
    for number, changes in enumerate(
        [
            {"codec": {"ratio": 2}},
            {"seed": 1},
            {"reconstruction": {"steps": 31, "batch_rows": 64}},
            {"prompt": {"style": "plain"}},
        ],
        start=1,
    ):
        run_sweep(experiment(folder, **changes), tmp_path / f"c{number}", only=["baseline"])
        assert len(set(adapters.glob("*.safetensors"))) == len(before) + number, changes
    able = fast_dtype(torch.device("cpu")) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": not able})
    run_sweep(experiment(folder), tmp_path / "d", only=["baseline"])
    assert len(set(adapters.glob("*.safetensors"))) == len(before) + number + 1, "another processor's products"


def test_a_checkpoint_holds_what_was_trained_and_not_the_model(swept):
    run, _ = swept
    record = json.loads((run / "r2" / "record.json").read_text())
    size = sum(path.stat().st_size for path in (run / "r2" / "checkpoint").rglob("*.safetensors"))
    assert size < 4 * sum(record["trainable_parameters"].values()) + 10_000


def test_controls_that_train_are_left_out_of_a_small_run_unless_asked_for(folder):
    small, large = experiment(folder), experiment(folder, data={"train": "squad", "samples": 501})
    names = ["baseline", "r2", "codec_only"]
    assert [run.name for run in plan(small, [], "auto")] == names
    assert [run.name for run in plan(large, [], "auto")] == [*names, "text_lora"]
    assert [run.name for run in plan(small, [], "all")] == [*names, "text_lora"]
    assert [run.name for run in plan(large, [], "none")] == names[:2]
    assert [run.name for run in plan(small, ["text_lora"], "none")] == ["text_lora"]


def test_two_processes_never_write_one_folder(folder, tmp_path):
    from filelock import FileLock

    run = tmp_path / "run"
    run.mkdir()
    with FileLock(run / ".lock"), pytest.raises(UsageError, match="another process is running a sweep"):
        run_sweep(experiment(folder), run)


def test_a_folder_of_other_things_is_left_alone(folder, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other files \(thesis\.tex\)"):
        run_sweep(experiment(folder), tmp_path)


def test_arms_of_other_prompts_and_scoring_keep_their_own_in_one_sweep(folder, tmp_path):
    raw = {"stop": "length", "score": "raw"}
    arms = {
        "baseline": {},
        "plain": {"prompt": {"style": "plain"}},
        "context": {"prompt": {"max_tokens": 140}},
        "right": {"prompt": {"max_tokens": 140, "truncation": "right"}},
        "raw": {"evaluation": raw},
    }
    made = experiment(folder, arms=arms, controls={"text_raw": {"reads": "text", "evaluation": raw}}, fused_arms=16)
    bench = Workbench(made, load(made.model), tmp_path / "codec", Display())
    configs = {run.name: bench.resolve(run.config) for run in plan(made, [], "all")}
    prompts = {name: bench.encoded(config).test[0].prompt_ids for name, config in configs.items()}
    assert len({prompts[name] for name in ("baseline", "plain", "context", "right")}) == 4
    assert prompts["baseline"] == prompts["raw"] == prompts["text_raw"]
    assert prompts["right"] == prompts["baseline"][:140]
    assert bench.encoded(configs["plain"]).encoder.style == "plain"
    assert len({str(bench.questions(config).hashes) for config in configs.values()}) == 1

    records = {record["name"]: record for record in run_sweep(made, tmp_path / "run", controls="all")}
    assert {record["status"] for record in records.values()} == {"done"}
    assert [records[name]["training"]["trained_together"] for name in arms] == [2, 1, 1, 1, 2]
    for name in ("raw", "controls/text_raw"):
        for row in lines(tmp_path / "run" / name / "predictions.jsonl"):
            assert (row["text"], row["f1"], row["stop_reason"]) == (row["raw_text"], row["raw_f1"], "length")
    # Trained beside it, the arm that is only scored otherwise has the very weights of the baseline.
    steps = [
        [row["loss"] for row in lines(tmp_path / "run" / name / "diagnostics.jsonl") if row["event"] == "step"]
        for name in ("baseline", "raw")
    ]
    assert steps[0] == steps[1]


def test_the_plans_experiment_file_names_its_own_results_folder():
    assert yaml.safe_load(PLAN_FILE.read_text())["name"] == "phase1a_lora_sweep"
