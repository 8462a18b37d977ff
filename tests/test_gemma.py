"""A model of another make: Gemma 3 scales its embeddings, and some of its layers look back over a window alone."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from doubles import save_sweep_inputs, tiny_gemma, tiny_gemma_lm
from test_sweep import experiment
from thinwire import model as model_module
from thinwire.batching import make_pass
from thinwire.errors import UsageError
from thinwire.export import export
from thinwire.finished import find_arm, opened
from thinwire.generate import StopRule, greedy
from thinwire.model import LanguageModel
from thinwire.sweep import run_sweep
from train_example import Setting, arm_config, train_together

LM = tiny_gemma_lm()
NEVER = StopRule(end_ids=frozenset(), newline_ids=frozenset(), max_new_tokens=6)


def test_the_table_is_what_the_first_layer_gets():
    weight = LM.model.get_input_embeddings().weight
    torch.testing.assert_close(LM.table, weight * math.sqrt(32))
    assert not LM.table.requires_grad
    model_module._check_states(LM)


def test_a_prompt_longer_than_the_window_is_refused_with_the_remedy():
    short = tiny_gemma_lm(window=24)
    assert greedy(short, short.table, [list(range(10, 26))], NEVER)
    with pytest.raises(UsageError, match=r"attends to the last 24 tokens alone, but .*shorten .* prompt\.max_tokens"):
        greedy(short, short.table, [list(range(10, 50))], NEVER)


def test_padding_is_not_refused_for_a_window_that_holds_all_that_is_real():
    config = arm_config()
    longest = make_pass(Setting(LM).questions, config.supervision.k_tokens).segments.longest_key
    (trained,) = train_together(config, lm=tiny_gemma_lm(window=longest), replay=True)
    assert len(trained.steps) == 4
    with pytest.raises(UsageError, match=f"last {longest - 1} tokens alone"):
        train_together(config, lm=tiny_gemma_lm(window=longest - 1), replay=True)


def test_a_sweep_refuses_prompts_that_no_window_holds_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    save_sweep_inputs(tmp_path)
    tiny_gemma(window=100).save_pretrained(tmp_path / "model")
    with pytest.raises(UsageError, match=r"last 100 tokens alone, .* have \d+; shorten prompts: prompt\.max_tokens=96"):
        run_sweep(experiment(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run" / "sweep.json").exists()
    assert not (tmp_path / "cache").exists()


def test_what_is_scored_is_what_an_exported_checkpoint_reads():
    lm = LanguageModel(model=tiny_gemma().bfloat16(), tokenizer=LM.tokenizer, name="tiny", revision="test")
    module = lm.model.get_input_embeddings()
    assert torch.equal(lm.as_read(lm.table), lm.table), "the text itself is read as it is"
    rebuilt = (lm.table.float() * 1.01).bfloat16()
    read = lm.as_read(rebuilt)
    assert not torch.equal(read, rebuilt), "or nothing is tested: dividing and multiplying rounds"
    torch.testing.assert_close(read, rebuilt, rtol=2**-7, atol=0)
    module.weight = torch.nn.Parameter(lm.embedding_weights(rebuilt), requires_grad=False)
    assert torch.equal(module(torch.arange(len(rebuilt))), read)


def test_a_sweep_runs_and_an_exported_arm_says_the_same_as_an_ordinary_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    save_sweep_inputs(tmp_path)
    tiny_gemma().save_pretrained(tmp_path / "model")
    records = run_sweep(experiment(tmp_path), tmp_path / "run", controls="all")
    assert {record["name"]: record["error"] for record in records} == dict.fromkeys(
        ("baseline", "r2", "codec_only", "text_lora")
    )
    export(find_arm(tmp_path / "run" / "r2", device="cpu"), tmp_path / "checkpoint")
    folded = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint", dtype=torch.float32)
    lm, reader = opened(find_arm(tmp_path / "run" / "r2", device="cpu"))
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        expected = lm.model(inputs_embeds=reader.table(torch.float32)[ids]).logits
        assert not torch.allclose(expected, tiny_gemma()(ids).logits), "the arm must differ from its base"
        torch.testing.assert_close(folded(ids).logits, expected, atol=1e-5, rtol=1e-5)
