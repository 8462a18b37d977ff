"""Gemma 3, which scales its embeddings and has layers with a sliding window."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from thinwire.checkpoints.load import find_arm, load_arm
from thinwire.errors import UsageError
from thinwire.evaluation.generation import StopRule, greedy
from thinwire.experiment.sweep import run_sweep
from thinwire.export.write import export
from thinwire.model.language_model import LanguageModel
from thinwire.model.support import check_model
from thinwire.training.microbatches import make_micro_batch
from tiny_models import save_sweep_inputs, tiny_gemma, tiny_gemma_lm
from tiny_sweeps import experiment
from tiny_training import Setting, arm_config, train_together

LM = tiny_gemma_lm()
NEVER = StopRule(end_ids=frozenset(), newline_ids=frozenset(), max_new_tokens=6)


def test_the_embedding_matrix_is_what_the_first_layer_gets():
    weight = LM.model.get_input_embeddings().weight
    torch.testing.assert_close(LM.embedding_matrix, weight * math.sqrt(32))
    assert not LM.embedding_matrix.requires_grad
    check_model(LM)


def test_a_prompt_longer_than_the_window_is_refused_with_a_remedy():
    short = tiny_gemma_lm(window=24)
    assert greedy(short, short.embedding_matrix, [list(range(10, 26))], NEVER)
    with pytest.raises(UsageError, match=r"attends to the last 24 tokens alone, but .*shorten .* prompt\.max_tokens"):
        greedy(short, short.embedding_matrix, [list(range(10, 50))], NEVER)


def test_a_window_that_holds_all_real_tokens_is_not_refused_for_padding():
    config = arm_config()
    longest = make_micro_batch(Setting(LM).questions, config.supervision.k_tokens).segments.longest_key
    (trained,) = train_together(config, lm=tiny_gemma_lm(window=longest), use_cuda_graphs=True)
    assert len(trained.steps) == 4
    with pytest.raises(UsageError, match=f"last {longest - 1} tokens alone"):
        train_together(config, lm=tiny_gemma_lm(window=longest - 1), use_cuda_graphs=True)


def test_a_sweep_refuses_prompts_longer_than_the_window_before_it_writes_anything(tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    save_sweep_inputs(tmp_path)
    tiny_gemma(window=100).save_pretrained(tmp_path / "model")
    with pytest.raises(UsageError, match=r"last 100 tokens alone, .* have \d+; shorten prompts: prompt\.max_tokens=96"):
        run_sweep(experiment(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run" / "sweep.json").exists()
    assert not (tmp_path / "cache").exists()


def test_the_scored_embedding_matrix_is_that_of_the_exported_checkpoint():
    lm = LanguageModel(model=tiny_gemma().bfloat16(), tokenizer=LM.tokenizer, name="tiny", revision="test")
    module = lm.model.get_input_embeddings()
    assert torch.equal(lm.as_exported(lm.embedding_matrix), lm.embedding_matrix), "text stays unchanged"
    rebuilt = (lm.embedding_matrix.float() * 1.01).bfloat16()
    exported = lm.as_exported(rebuilt)
    assert not torch.equal(exported, rebuilt), "the test needs a difference from rounding"
    torch.testing.assert_close(exported, rebuilt, rtol=2**-7, atol=0)
    module.weight = torch.nn.Parameter(lm.embedding_weights(rebuilt), requires_grad=False)
    assert torch.equal(module(torch.arange(len(rebuilt))), exported)


def test_a_sweep_runs_and_an_exported_arm_gives_the_same_logits_as_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    save_sweep_inputs(tmp_path)
    tiny_gemma().save_pretrained(tmp_path / "model")
    records = run_sweep(experiment(tmp_path), tmp_path / "run", controls="all")
    assert {record.name: record.error for record in records} == dict.fromkeys(
        ("baseline", "r2", "codec_only", "text_lora")
    )
    export(find_arm(tmp_path / "run" / "r2", device="cpu"), tmp_path / "checkpoint")
    folded = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint", dtype=torch.float32)
    lm, inputs = load_arm(find_arm(tmp_path / "run" / "r2", device="cpu"))
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        expected = lm.model(inputs_embeds=inputs.matrix(torch.float32)[ids]).logits
        assert not torch.allclose(expected, tiny_gemma()(ids).logits), "the arm must differ from its base"
        torch.testing.assert_close(folded(ids).logits, expected, atol=1e-5, rtol=1e-5)
