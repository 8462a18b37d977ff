"""Whole sweeps of a tiny model: their files, their records, and their errors."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.checkpoints.load import find_arm, load_arm
from thinwire.config.auto import resolved
from thinwire.data.splits import Splits
from thinwire.errors import UsageError
from thinwire.experiment import arm_run
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.plan import plan
from thinwire.experiment.run_claims import exclusive
from thinwire.experiment.sweep import run_sweep
from thinwire.model.loading import load
from thinwire.progress import Display
from thinwire.results.arm_record import read_arm_record
from thinwire.results.sweep_header import read_header
from tiny_sweeps import experiment, lines, timeless

PLAN_FILE = Path(__file__).parents[2] / "experiments" / "phase1a_lora.yaml"

# The plan's command that finds the best configuration, unchanged (docs/plan.md).
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


def test_a_sweep_writes_the_files_that_the_plan_names(swept):
    run, records = swept
    assert [record.status for record in records] == ["done"] * 4
    for name in ("baseline", "r2", "controls/codec_only", "controls/text_lora"):
        arm = run / name
        assert len(list(arm.glob("training_*.log"))) == 1
        assert {"diagnostics.jsonl", "predictions.jsonl", "record.json"} <= {path.name for path in arm.iterdir()}
    assert {"experiment.yaml", "sweep.json", "sweep_summary.txt", "compare_results.py", "codec"} <= {
        path.name for path in run.iterdir()
    }
    assert len(list((run / "codec").iterdir())) == 1, "one codec, shared"


def test_the_header_counts_the_test_questions_and_carries_the_interactions(folder, swept, tmp_path):
    header = read_header(swept[0])
    # Two test articles of four questions; the model is a folder of float32 weights.
    assert (header.test_questions, header.shared_paragraphs, header.model.quantisation) == (8, 0, None)
    assert header.interactions == {}
    members = {"arm": "r2", "baseline": "baseline", "reference_arm": "text_lora", "reference_baseline": "codec_only"}
    asking = experiment(folder, interactions={"lora": members})
    run_sweep(asking, swept[0], resume=True, controls="all")
    assert read_header(swept[0]).interactions["lora"].model_dump() == members


def test_the_header_counts_the_questions_of_test_articles(folder, tmp_path):
    data = {"train": str(folder / "train.json"), "samples": 4, "selection_articles": 2, "test_articles": 3}
    run_sweep(experiment(folder, data=data), tmp_path / "run", only=["codec_only"])
    header = read_header(tmp_path / "run")
    assert (header.test_questions, header.shared_paragraphs) == (12, 0)  # three articles of four questions


def test_a_table_of_ones_own_is_swept_without_words_about_other_data_and_resumed_with_its_columns_alone(
    folder, tmp_path
):
    rows = [f"Town {n} has {n} mills.,How many mills has town {n}?,{n},has" for n in range(6)]
    (tmp_path / "mine.csv").write_text("\n".join(["passage,question,gold,other", *rows]))
    data = {"train": str(tmp_path / "mine.csv"), "samples": 4, "selection_articles": 2, "test_articles": 2}
    data["columns"] = {"context": "passage", "answers": "gold"}
    words = {"heading": "On SQuAD", "about": {"models": ["model"], "data": ["squad"]}}
    made = experiment(folder, data=data, report=words, description="SQuAD's questions")
    run_sweep(made, tmp_path / "run", only=["codec_only"])
    header = read_header(tmp_path / "run")
    assert (header.test_questions, header.training_questions) == (2, 2)
    assert header.report["heading"] is None
    assert header.description.startswith("The experiment's configurations with the model ")
    assert "SQuAD's" not in (tmp_path / "run" / "sweep_summary.txt").read_text()
    others = experiment(folder, data={**data, "columns": {"context": "passage", "answers": "other"}}, report=words)
    with pytest.raises(UsageError, match=r"was started with other settings \(data\)"):
        run_sweep(others, tmp_path / "run", resume=True, only=["codec_only"])


def test_paragraphs_that_are_trained_and_tested_on_are_refused_or_counted(folder, tmp_path, caplog):
    data = {"train": str(folder / "train.json"), "test": str(folder / "train.json"), "samples": 4}
    data["selection_articles"] = 2
    with pytest.raises(UsageError, match="4 paragraphs of the test questions"):
        run_sweep(experiment(folder, data=data), tmp_path / "run", only=["codec_only"])
    assert not (tmp_path / "run" / "sweep.json").exists()
    allowed = experiment(folder, data={**data, "allow_shared_paragraphs": True})
    run_sweep(allowed, tmp_path / "run", only=["codec_only"])
    assert read_header(tmp_path / "run").shared_paragraphs == 6
    assert caplog.text.count("paragraphs of the test questions") == 2  # four are trained on, two are held out


def test_a_smaller_draw_of_test_questions_on_a_cpu_is_said_where_there_are_more(folder, tmp_path, caplog):
    codec_alone = {"arms": {"baseline": {"input": "codec"}}, "controls": {}}
    evaluation = {"selection_samples": 5, "max_new_tokens": 1}
    with caplog.at_level(logging.INFO, logger="thinwire"):
        run_sweep(experiment(folder, **codec_alone, evaluation=evaluation), tmp_path / "few")
    assert "as this is a CPU" not in caplog.text
    rows = [
        {"id": str(n), "context": f"Town {n} has mills.", "question": "What?", "answers": ["mills"]} for n in range(101)
    ]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": str(folder / "train.json"), "test": str(tmp_path / "many.jsonl"), "samples": 4}
    many = experiment(folder, **codec_alone, evaluation=evaluation, data={**data, "selection_articles": 2})
    with caplog.at_level(logging.INFO, logger="thinwire"):
        run_sweep(many, tmp_path / "many")
    assert "scoring 100 of 101 test questions, as this is a CPU (evaluation.samples sets another number)" in caplog.text


def test_a_control_that_is_left_out_is_named_once(folder, tmp_path, caplog):
    small = experiment(folder, arms={"baseline": {"input": "codec"}}, controls={"text_lora": {"lora": {"rank": 2}}})
    with caplog.at_level(logging.INFO, logger="thinwire"):
        records = run_sweep(small, tmp_path / "run")
    assert [record.name for record in records] == ["baseline"]
    assert "as this is a CPU" not in caplog.text, "the number of test questions is set"
    assert caplog.text.count("leaving out") == caplog.text.count("leaving out the control text_lora: 12 samples") == 1


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
    losses = {"loss", "cosine", "relative_mse", "ce", "first_token_ce", "kd"}
    rates = {"lr_adapter", "lr_lora", "grad_norm_adapter", "grad_norm_lora", "tokens_per_second"}
    assert set(rows[0]) == {"event", "step", "epoch"} | losses | rates


def test_a_record_has_its_results_and_their_origin(swept):
    run, _ = swept
    record = read_arm_record(run / "r2")
    assert record.config["lora"]["rank"] == 2
    # Rank 2, one layer of width 32 with 16 key-value channels: 2 x (64 + 48 + 48 + 64).
    assert record.done.trainable_parameters.lora == 2 * 224
    assert record.done.test.n == 6
    assert record.done.selection.n == 5
    assert record.done.training.num_steps == 4
    assert record.environment.packages["torch"]
    assert all(len(hash_) == 64 for hash_ in record.data.model_dump().values())
    predictions = lines(run / "r2" / "predictions.jsonl")
    assert record.done.test.score == pytest.approx(sum(p["score"] for p in predictions) / 6)
    assert len({p["id"] for p in predictions}) == 6


def test_all_arms_of_the_same_prompts_record_the_same_form_of_their_answers(swept):
    # Every byte is a token, and every number follows a space: prompts contain both forms, so the model was asked.
    _, records = swept
    decisions = {record.done.answer_form for record in records}
    (decision,) = decisions
    assert (decision.decided_by, decision.num_questions) == ("likelihood", 12)
    assert decision.bare.in_prompt_share == decision.space.in_prompt_share == 1
    likelier = "bare" if decision.bare.log_likelihood > decision.space.log_likelihood else "space"
    assert decision.form == likelier


@pytest.mark.parametrize("form", ["bare", "space"])
def test_training_supervises_the_recorded_form(folder, form):
    made = experiment(folder, prompt={"answer_form": form})
    lm = load(made.model)
    questions = ArtifactCache(made, lm, folder / "codec", Display()).questions(resolved(made.arm("baseline"), "cpu"))
    assert questions.answer_form.form == form
    assert questions.answer_form.decided_by == "setting"
    for split in (questions.encoded.train, questions.encoded.selection, questions.encoded.test):
        texts = {lm.tokenizer.decode(question.answer_ids[:-1]).startswith(" ") for question in split}
        assert texts == {form == "space"}


def test_no_article_is_both_trained_on_and_chosen_by(folder):
    made = experiment(folder)
    arm = resolved(made.arm("r2"), "cpu")
    questions = Splits(made.data, made.seed).drawn(arm.evaluation)
    assert not {q.article for q in questions.train} & {q.article for q in questions.selection}
    assert len({q.article for q in questions.selection}) == 2


def test_arms_share_their_questions_data_order_and_starting_adapter(swept):
    run, _ = swept
    baseline, r2 = (read_arm_record(run / name) for name in ("baseline", "r2"))
    assert baseline.data == r2.data
    assert baseline.done.reconstruction_at_start == r2.done.reconstruction_at_start
    first = [lines(run / name / "diagnostics.jsonl")[0] for name in ("baseline", "r2")]
    # LoRA starts as zero, so the first step's loss is the same in both arms, on the same batch.
    assert first[0]["loss"] == pytest.approx(first[1]["loss"], rel=1e-5)


def test_the_plans_one_liner_gives_the_arm_chosen_on_the_selection_split(swept):
    run, records = swept
    output = subprocess.run(
        [sys.executable, "-c", ONE_LINER], cwd=run.parents[1], capture_output=True, text=True, check=True
    ).stdout
    arms = [record for record in records if record.kind == "arm"]
    best = max(record.done.selection.score for record in arms)
    name, f1 = re.fullmatch(r"Best: (\w+) with F1=([\d.]+)%\n", output).groups()
    assert next(record for record in arms if record.name == name).done.selection.score == best
    assert float(f1) == pytest.approx(100 * best, abs=0.05)


def test_compare_results_runs_on_a_bare_python(swept):
    run, _ = swept
    output = subprocess.run(
        [sys.executable, "-I", "-S", str(run / "compare_results.py")], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"^[* ] baseline ", output, re.MULTILINE)
    assert re.search(r"^[* ] r2 ", output, re.MULTILINE)
    assert "codec_only" in output.split("Controls")[1]


def test_one_arms_failure_is_recorded_and_the_others_run(folder, tmp_path):
    broken = experiment(
        folder,
        arms={
            "baseline": {},
            "wild": {"lora": {"rank": 2}, "training": {"adapter_lr": 1e30, "epochs": 2}},
            "late": {"lora": {"rank": 2, "start_from": str(tmp_path / "run" / "wild")}},
        },
        controls={},
    )
    records = {record.name: record for record in run_sweep(broken, tmp_path / "run")}
    assert {name: record.status for name, record in records.items()} == {
        "baseline": "done",
        "wild": "failed",
        "late": "failed",
    }
    assert "became" in records["wild"].error
    assert "wild" in records["late"].error
    assert records["wild"].results is None, "a failure is never a zero"
    summary = (tmp_path / "run" / "sweep_summary.txt").read_text()
    assert re.search(r"^  wild +- +failed", summary, re.MULTILINE)
    assert "Traceback" in next((tmp_path / "run" / "late").glob("training_*.log")).read_text()


@pytest.mark.parametrize(("scores", "best", "num_matrices"), [([0.9, 0.1], 1, 3), ([0.1, 0.9], 2, 2)])
def test_the_test_uses_the_best_epochs_matrix_which_is_not_built_again_after_the_last(
    scores, best, num_matrices, folder, tmp_path, monkeypatch
):
    real, selections, matrices = arm_run.summarize, iter(scores), []
    build_matrix = InputEmbeddings.matrix

    def scored(predictions):
        return real(predictions).model_copy(update={"score": next(selections, 0.0)})

    def built(inputs, dtype):
        matrices.append(build_matrix(inputs, dtype))
        return matrices[-1]

    fast = {"epochs": 2, "batch_size": 8, "adapter_lr": 0.1}
    with monkeypatch.context() as patch:
        patch.setattr(arm_run, "summarize", scored)
        patch.setattr(InputEmbeddings, "matrix", built)
        (record,) = run_sweep(experiment(folder, training=fast), tmp_path / "run", only=["baseline"])
    assert record.done.training.best_epoch == best
    assert len(matrices) == num_matrices
    assert not torch.equal(matrices[0], matrices[1])
    _, inputs = load_arm(find_arm(tmp_path / "run" / "baseline", "cpu"))
    assert torch.equal(matrices[-1], inputs.matrix(torch.float32)), "the checkpoint has the weights that were tested"


def test_same_seed_same_machine_gives_identical_diagnostics(folder, swept, tmp_path):
    run, _ = swept
    run_sweep(experiment(folder), tmp_path / "again", only=["r2"])
    again = tmp_path / "again" / "r2"
    assert timeless(run / "r2" / "diagnostics.jsonl") == timeless(again / "diagnostics.jsonl")
    assert (run / "r2" / "predictions.jsonl").read_text() == (again / "predictions.jsonl").read_text()


def test_a_checkpoint_holds_what_was_trained_and_not_the_model(swept):
    run, _ = swept
    record = read_arm_record(run / "r2")
    size = sum(path.stat().st_size for path in (run / "r2" / "checkpoint").rglob("*.safetensors"))
    assert size < 4 * (record.done.trainable_parameters.adapter + record.done.trainable_parameters.lora) + 10_000


def test_two_processes_never_write_one_folder(folder, tmp_path):
    run = tmp_path / "run"
    with exclusive(run), pytest.raises(UsageError, match=r"another process is running a sweep in .*\(process \d+ on"):
        run_sweep(experiment(folder), run)


def test_a_refused_sweep_leaves_no_new_folder_and_keeps_one_that_was_there(folder, tmp_path):
    refused = experiment(folder, data={"train": str(folder / "train.json"), "test": str(folder / "train.json")})
    (tmp_path / "mine").mkdir()
    for run in (tmp_path / "new", tmp_path / "mine"):
        with pytest.raises(UsageError):
            run_sweep(refused, run)
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "mine").is_dir()


def test_a_folder_with_other_files_is_refused(folder, tmp_path):
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
    made = experiment(folder, arms=arms, controls={"text_raw": {"input": "text", "evaluation": raw}}, group_size=16)
    artifacts = ArtifactCache(made, load(made.model), tmp_path / "codec", Display())
    configs = {run.name: resolved(run.config, "cpu") for run in plan(made, [], "all")}
    encoded = {name: artifacts.questions(config).encoded for name, config in configs.items()}
    prompts = {name: questions.test[0].prompt_ids for name, questions in encoded.items()}
    assert len({prompts[name] for name in ("baseline", "plain", "context", "right")}) == 4
    assert prompts["baseline"] == prompts["raw"] == prompts["text_raw"]
    assert prompts["right"] == prompts["baseline"][:140]
    assert encoded["plain"].encoder.style == "plain"
    assert len({questions.hashes for questions in encoded.values()}) == 1

    records = {record.name: record for record in run_sweep(made, tmp_path / "run", controls="all")}
    assert {record.status for record in records.values()} == {"done"}
    assert [records[name].done.training.trained_together for name in arms] == [2, 1, 1, 1, 2]
    for name in ("raw", "controls/text_raw"):
        for row in lines(tmp_path / "run" / name / "predictions.jsonl"):
            assert (row["text"], row["score"], row["stop_reason"]) == (row["raw_text"], row["raw_score"], "length")
    # The arm that differs only in scoring trains in the same group and has the same losses as the baseline.
    steps = [
        [row["loss"] for row in lines(tmp_path / "run" / name / "diagnostics.jsonl") if row["event"] == "step"]
        for name in ("baseline", "raw")
    ]
    assert steps[0] == steps[1]


def test_the_plans_experiment_file_names_its_own_results_folder():
    assert yaml.safe_load(PLAN_FILE.read_text())["name"] == "phase1a_lora_sweep"
