"""A finished arm loaded again: evaluated as in its record, and exported as a checkpoint with the same answers."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from sweep_folder import replace_arm_record
from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.checkpoints.load import find_arm, load_arm, starting_factors
from thinwire.config.experiment import ArmConfig
from thinwire.config.lora_settings import LoraSettings
from thinwire.config.settings import ModelConfig
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment import artifact_cache
from thinwire.experiment.dry_run import dry_run
from thinwire.experiment.sweep import run_sweep
from thinwire.export.write import export
from thinwire.model.loading import load
from thinwire.model.lora import attached
from thinwire.results.arm_record import read_arm_record
from thinwire.schema import build
from tiny_models import save_tiny, tiny_lm
from tiny_sweeps import evaluate, experiment, finished_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("finished"))


@pytest.mark.parametrize("name", ["baseline", "r2", "controls/codec_only", "controls/text_lora"])
def test_evaluating_a_checkpoint_gives_the_scores_and_answers_of_its_record(run, name):
    record = read_arm_record(run / name)
    scores, answers = evaluate(run / name, run.parent / "test.json")
    assert scores == record.done.test
    rows = [json.loads(line) for line in (run / name / "predictions.jsonl").read_text().splitlines()]
    assert answers == {row["id"]: row["text"] for row in rows}


def test_a_finished_arm_teaches_another(run, tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(run.parent / "cache"))
    teachers = {"by_itself": None, "by_text_lora": str(run / "controls/text_lora"), "by_r2": str(run / "r2")}
    student = {"input": "text", "lora": {"rank": 2, "dropout": 0}}
    arms = {
        name: {**student, "supervision": {"kd_weight": 1.0, "ce_weight": 0, "teacher": teacher}}
        for name, teacher in teachers.items()
    }
    records = run_sweep(experiment(run.parent, arms=arms, controls={}, baseline="by_itself"), tmp_path / "run")
    assert [record.status for record in records] == ["done"] * 3
    first = {
        name: json.loads((tmp_path / "run" / name / "diagnostics.jsonl").read_text().splitlines()[0])["kd"]
        for name in teachers
    }
    # Fresh LoRA changes nothing, so the KL from the model itself is 0, and from other teachers it is not.
    assert first["by_itself"] == pytest.approx(0, abs=1e-6)
    assert min(first["by_text_lora"], first["by_r2"]) > 1e-3
    assert first["by_text_lora"] != pytest.approx(first["by_r2"])


def test_an_arm_of_another_vocabulary_cannot_teach(run, tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(run.parent / "cache"))
    smaller = tiny_lm()
    smaller.model.resize_token_embeddings(200)
    monkeypatch.setattr(artifact_cache, "load_arm", lambda arm: (smaller, InputEmbeddings(smaller.embedding_matrix)))
    arms = {"baseline": {"supervision": {"kd_weight": 1.0, "teacher": str(run / "r2")}}}
    (record,) = run_sweep(experiment(run.parent, arms=arms, controls={}), tmp_path / "run")
    assert record.status == "failed"
    assert "cannot teach: the vocabulary of its tiny has 200 entries, that of" in record.error


LORA = {"rank": 2, "dropout": 0}
"""The LoRA of the control text_lora, but for dropout."""


def answers(folder):
    return [json.loads(line)["text"] for line in (folder / "predictions.jsonl").read_text().splitlines()]


def factors(folder):
    return load_file(folder / "checkpoint" / "lora" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def started(run, tmp_path_factory):
    """Arms whose LoRA starts from text_lora, trained in one group where they can be."""
    lora = {**LORA, "start_from": str(run / "controls/text_lora")}
    distilled = {"kd_weight": 1.0, "ce_weight": 0, "teacher": str(run / "controls/text_lora")}
    arms = {
        "baseline": {"lora": LORA},
        "untrained": {"input": "text", "lora": lora, "training": {"epochs": 0}},
        "reading": {"lora": {**lora, "trained": False}, "training": {"epochs": 0}},
        "codes": {"input": "codec", "lora": {**lora, "trained": False}},
        "on": {"input": "text", "lora": lora, "supervision": distilled},
        "fixed": {"lora": {**lora, "trained": False}},
        "both": {"lora": lora},
    }
    folder = tmp_path_factory.mktemp("started") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THINWIRE_CACHE", str(run.parent / "cache"))
        training = {"epochs": 2, "batch_size": 4, "lora_lr": 0.1, "adapter_lr": 0.01}
        records = run_sweep(experiment(run.parent, arms=arms, controls={}, training=training, group_size=4), folder)
    assert {record.name: record.error for record in records if record.status != "done"} == {}
    assert read_arm_record(folder / "fixed").done.training.trained_together == 4
    return folder


def test_without_an_epoch_the_answers_are_those_of_the_arm_that_lora_starts_from(run, started):
    assert answers(started / "untrained") == answers(run / "controls/text_lora")
    assert read_arm_record(started / "untrained").done.trainable_parameters.total == 0
    base, _ = evaluate(run.parent / "model", run.parent / "test.json")
    assert base != read_arm_record(started / "untrained").done.test, "LoRA changes the answers"


@pytest.mark.parametrize("name", ["untrained", "reading", "codes", "on", "fixed", "both"])
def test_the_checkpoint_of_a_started_arm_has_its_lora(run, started, name):
    scores, _ = evaluate(started / name, run.parent / "test.json")
    assert scores == read_arm_record(started / name).done.test


def test_training_goes_on_where_the_other_arm_ended(run, started):
    steps = [json.loads(line) for line in (started / "on" / "diagnostics.jsonl").read_text().splitlines()]
    # Of the arm itself as its own teacher, the KL is 0 before the first update.
    assert steps[0]["kd"] == pytest.approx(0, abs=1e-5)
    assert steps[1]["kd"] > 1e-4
    source = factors(run / "controls/text_lora")
    for name in ("on", "both"):
        trained = factors(started / name)
        assert trained.keys() == source.keys()
        assert not any(torch.equal(trained[key], source[key]) for key in source)


def test_lora_that_is_not_trained_stays_and_the_adapter_is_trained(run, started):
    source = factors(run / "controls/text_lora")
    for name in ("fixed", "codes", "reading", "untrained"):
        assert all(torch.equal(factor, source[key]) for key, factor in factors(started / name).items())
    counts = {name: read_arm_record(started / name).done.trainable_parameters for name in ("fixed", "both", "codes")}
    assert counts["fixed"].lora == counts["codes"].total == 0
    assert counts["fixed"].adapter == counts["both"].adapter > 0
    assert counts["both"].lora == sum(factor.numel() for factor in source.values())
    step = json.loads((started / "fixed" / "diagnostics.jsonl").read_text().splitlines()[0])
    assert step["lr_lora"] is step["grad_norm_lora"] is None
    assert step["grad_norm_adapter"] > 0
    trained, fresh = (load_file(started / name / "checkpoint" / "adapter.safetensors") for name in ("fixed", "reading"))
    assert not any(torch.equal(trained[key], fresh[key]) for key in fresh)


@pytest.mark.parametrize(
    ("source", "lora", "message"),
    [
        ("r2", {"rank": 2}, r"lora\.alpha 4\.0, here 16\.0; lora\.layers 1, here all"),
        ("r2", {"rank": 2, "alpha": 4, "layers": 1, "position": "last"}, r"lora\.position first, here last"),
        ("controls/text_lora", {"rank": 2, "targets": ["q_proj"]}, r"lora\.targets attention, here q_proj"),
        ("baseline", {"rank": 2}, r"lora\.rank 0, here 2"),
        ("nowhere", {"rank": 2}, r"nowhere is no arm's folder"),
    ],
)
def test_an_arm_of_another_lora_is_no_start(run, tmp_path, source, lora, message, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(run.parent / "cache"))
    made = experiment(run.parent, arms={"baseline": {"lora": {**lora, "start_from": str(run / source)}}}, controls={})
    assert re.search(message, dry_run(made, tmp_path / "run").obstacles["baseline"])
    with pytest.raises(UsageError, match=message):
        run_sweep(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_arm_of_another_model_is_no_start(run):
    other = replace(tiny_lm(), revision="other")
    with pytest.raises(
        UsageError, match=r"LoRA cannot start from .*, here is tiny at other; choose an arm of the same"
    ):
        starting_factors(find_arm(run / "controls/text_lora"), LoraSettings(rank=2), other)


def test_an_arm_without_lora_in_its_checkpoint_is_no_start(run, tmp_path):
    arm = find_arm(run / "controls/text_lora")
    lm = replace(tiny_lm(), revision=arm.record.model.revision)
    assert starting_factors(arm, LoraSettings(rank=2), lm).keys() == factors(arm.folder).keys()
    with pytest.raises(ThinwireError, match=r"checkpoint is missing; evaluate, export, .* need it"):
        starting_factors(replace(arm, folder=tmp_path), LoraSettings(rank=2), lm)


def test_lora_that_is_neither_started_nor_trained_is_refused():
    with pytest.raises(UsageError, match=r"lora: trained is false and start_from is null"):
        build(ArmConfig, {"lora": {"rank": 2, "trained": False}}, where="")
    assert not build(ArmConfig, {"lora": {"trained": False}}, where="").lora.is_trained  # rank 0, so no LoRA


def test_a_bare_model_gets_the_text_as_input(run):
    scores, answers = evaluate(run.parent / "model", run.parent / "test.json", num=None)
    assert scores.n == len(answers) == 8


@pytest.mark.parametrize("name", ["baseline", "r2"])
def test_an_exported_arm_is_an_ordinary_checkpoint_with_the_same_answers(run, name, tmp_path):
    target = tmp_path / "checkpoint"
    export(find_arm(run / name, device="cpu"), target)
    folded = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32)
    assert not folded.config.tie_word_embeddings
    ids = torch.arange(20, 60)[None]
    lm, inputs = load_arm(find_arm(run / name, device="cpu"))
    with torch.no_grad():
        expected = lm.model(inputs_embeds=inputs.matrix(torch.float32)[ids]).logits
        base = load(ModelConfig(name=str(run.parent / "model"), device="cpu", dtype="float32"))
        assert not torch.allclose(expected, base.model(input_ids=ids).logits), "the arm must differ from its base"
        torch.testing.assert_close(folded(input_ids=ids).logits, expected, atol=1e-6, rtol=1e-6)
    scores, _ = evaluate(target, run.parent / "test.json")
    assert scores == read_arm_record(run / name).done.test
    with pytest.raises(UsageError, match="exists, and nothing is overwritten"):
        export(find_arm(run / name), target)


def test_an_exported_arm_has_the_very_weights_that_were_scored(run, tmp_path):
    arm = find_arm(run / "r2", device="cpu")
    export(arm, tmp_path / "checkpoint")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint", dtype=torch.float32)
    factors = load_file(arm.checkpoint / "lora" / "adapter_model.safetensors")
    lm = load(arm.model)
    matrix = load_arm(arm)[1].matrix(lm.dtype)
    with attached(lm.model, [arm.config.lora], [0]) as lora:
        assert lora.factors(0).keys() == factors.keys()
        for name, factor in lora.factors(0).items():
            factor.copy_(factors[name])
        with lora.alone(0):  # as in the arm's own evaluation
            ids = torch.arange(20, 60)[None]
            with torch.no_grad():
                scored = lm.model(inputs_embeds=matrix[ids]).logits
            weights = {name: layer.base.weight for name, layer in lm.model.named_modules() if hasattr(layer, "down")}
            assert len(weights) == 4
            assert all(torch.equal(weight, exported.get_submodule(name).weight) for name, weight in weights.items())
    assert torch.equal(exported.get_input_embeddings().weight, matrix)
    with torch.no_grad():
        torch.testing.assert_close(exported(input_ids=ids).logits, scored, atol=1e-6, rtol=1e-6)


def test_a_folder_without_a_finished_arm_is_refused(run, tmp_path):
    with pytest.raises(UsageError, match=r"no record\.json"):
        find_arm(tmp_path)
    record = read_arm_record(run / "r2")
    failed = record.model_copy(update={"status": "failed", "error": "too warm", "results": None})
    replace_arm_record(tmp_path / "r2", failed)
    with pytest.raises(UsageError, match=r"not done \(failed: too warm\)"):
        find_arm(tmp_path / "r2")


def test_another_model_under_the_same_name_is_refused(run, tmp_path):
    moved = Path(shutil.copytree(run, tmp_path / "run")) / "baseline"
    record = read_arm_record(moved)
    other = save_tiny(tmp_path / "other", seed=1)
    replace_arm_record(moved, record.model_copy(update={"model": record.model.model_copy(update={"name": str(other)})}))
    with pytest.raises(UsageError, match="get that revision"):
        load_arm(find_arm(moved, device="cpu"))


def test_a_missing_codec_is_named(run, tmp_path):
    moved = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(moved / "codec")
    with pytest.raises(ThinwireError, match=r"pca-.* is missing, the codec of baseline; copy the whole run folder"):
        load_arm(find_arm(moved / "baseline", device="cpu"))
