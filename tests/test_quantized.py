"""A base whose linear layers are held in 8 bits: trained over, scored, opened again and folded."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from doubles import save_sweep_inputs
from test_finished import evaluate
from test_sweep import experiment
from thinwire import model as model_module
from thinwire.arm import check_done
from thinwire.config import LoraSettings, ModelConfig
from thinwire.errors import ThinwireError, UsageError
from thinwire.export import export
from thinwire.finished import find_arm, opened
from thinwire.lora import attached
from thinwire.model import load
from thinwire.progress import Display
from thinwire.sweep import run_sweep
from thinwire.workbench import Workbench

pytest.importorskip("bitsandbytes")

IDS = torch.arange(20, 60)[None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_sweep_inputs(tmp_path_factory.mktemp("quantized"))


@pytest.fixture(scope="module")
def quantized(folder):
    return ModelConfig(name=str(folder / "model"), device="cpu", base_bits=8)


@pytest.fixture(scope="module")
def made(folder, quantized):
    training = {"epochs": 1, "batch_size": 4, "lora_lr": 0.1, "adapter_lr": 0.01}
    return experiment(folder, training=training).model_copy(update={"model": quantized})


@pytest.fixture(scope="module")
def run(folder, made):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THINWIRE_CACHE", str(folder / "cache"))
        run_sweep(made, folder / "run", controls="none")
    return folder / "run"


def test_linear_layers_are_quantised_and_embeddings_and_head_are_not(quantized):
    lm, whole = load(quantized), load(quantized.model_copy(update={"base_bits": None}))
    assert {layer.self_attn.q_proj.weight.dtype for layer in lm.model.model.layers} == {torch.int8}
    assert torch.equal(lm.table, whole.table)
    assert torch.equal(lm.model.get_output_embeddings().weight, whole.model.get_output_embeddings().weight)
    with torch.no_grad():
        assert 0 < distance(lm.model(IDS).logits, whole.model(IDS).logits) < 0.1
    assert lm.identity() == {**whole.identity(), "base_bits": 8}


def distance(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def test_an_arm_beside_quantised_weights_says_what_its_factors_say(quantized):
    model = load(quantized).model
    embeddings = model.get_input_embeddings()(IDS)
    settings = [LoraSettings(rank=2, alpha=8, dropout=0.0), LoraSettings(rank=1, alpha=4, layers=1, dropout=0.0)]
    with torch.no_grad(), attached(model, settings, [0, 1]) as lora:
        for arm in range(2):
            for factor in lora.factors(arm).values():
                factor.normal_(generator=torch.Generator().manual_seed(arm))
        together = model(inputs_embeds=embeddings.repeat(2, 1, 1)).logits
        assert distance(together[0], together[1]) > 0.5
        for arm in range(2):
            with lora.alone(arm):
                assert distance(model(inputs_embeds=embeddings).logits[0], together[arm]) < 0.05


@pytest.mark.parametrize("name", ["baseline", "r2"])
def test_an_arm_opened_again_gives_the_figures_of_its_record(run, made, name):
    record = json.loads((run / name / "record.json").read_text())
    assert record["status"] == "done", record["error"]
    assert record["model"]["base_bits"] == 8
    metrics, _ = evaluate(run / name, run.parent / "test.json", model=made.model)
    assert metrics == record["test"]


def test_an_exported_arm_is_merged_into_the_weights_that_were_quantised(run, tmp_path):
    arm = find_arm(run / "r2", device="cpu")
    export(arm, tmp_path / "checkpoint")
    folded = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint", dtype=torch.bfloat16)
    assert folded.model.layers[0].self_attn.q_proj.weight.dtype == torch.bfloat16
    lm, reader = opened(arm)
    with torch.no_grad():
        assert distance(lm.model(inputs_embeds=reader.table(lm.dtype)[IDS]).logits, folded(IDS).logits) < 0.1


def test_an_arm_finished_over_other_weights_does_not_count(run, made, monkeypatch):
    record = json.loads((run / "r2" / "record.json").read_text())
    whole = made.model_copy(update={"model": made.model.model_copy(update={"base_bits": None})})
    bench = Workbench(whole, load(whole.model), run / "codec", Display())
    arm = bench.resolve(whole.arm("r2"))
    with pytest.raises(ThinwireError, match=r"another model \(base_bits 8, now None\)"):
        check_done(record, arm, bench.questions(arm).hashes, bench.lm)


def test_without_bitsandbytes_the_message_says_what_to_install(quantized, monkeypatch):
    monkeypatch.setattr(model_module, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"base_bits=8 needs bitsandbytes; pip install 'thinwire\[quantized\]'"):
        load(quantized)


def test_four_bits_on_a_cpu_are_refused_because_they_would_not_learn(quantized):
    with pytest.raises(UsageError, match="base_bits=4 needs a CUDA device"):
        load(quantized.model_copy(update={"base_bits": 4}))
