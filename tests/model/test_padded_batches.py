"""Models that cannot be packed: losses and gradients as of a padded batch computed by hand, and the same results as
packed where a model can do both."""

from dataclasses import replace

import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from architectures import PADDED, WITHOUT_ATTENTION, tiny_model_of
from thinwire.checkpoints.load import find_arm, load_arm
from thinwire.evaluation.generation import StopRule, greedy
from thinwire.experiment.sweep import run_sweep
from thinwire.export.write import export
from thinwire.model.lora import attached
from thinwire.model.support import check_model
from thinwire.training.microbatch_loss import MicroBatchLoss
from thinwire.training.microbatches import make_batch
from tiny_models import save_sweep_inputs, tiny_lm
from tiny_sweeps import experiment
from tiny_training import Setting, arm_config, train_together

NEVER = StopRule(max_new_tokens=6, end_ids=frozenset(), newline_ids=frozenset())
PROMPTS = [list(range(5, 30)), [*range(5, 24), 9, 8], [70, 71, 72], [80, 81, 82]]


def two_arms(targets):
    """Arms that differ in rank, layers and supervised tokens; the second does not adapt the first layer."""
    shared = {"input": "adapter", "reconstruction": {"cosine_weight": 0.0, "mse_weight": 0.0}}
    lora = {"alpha": 4, "dropout": 0.0, "targets": targets}
    return [
        arm_config(**shared, lora={**lora, "rank": 3}, supervision={"ce_weight": 1.0, "k_tokens": 3}),
        arm_config(
            **shared,
            lora={**lora, "rank": 2, "layers": 1, "position": "last"},
            supervision={"ce_weight": 0.5, "k_tokens": 2},
        ),
    ]


def disturb(lora, arm):
    generator = torch.Generator().manual_seed(arm)
    for factor in lora.factors(arm).values():
        factor += 0.02 * torch.randn(factor.shape, generator=generator)


def direct_loss(model, matrix, questions, k_tokens):
    """The mean cross-entropy of the first ``k_tokens`` answer tokens, from a right-padded batch with a mask."""
    answers = [question.answer_ids[:k_tokens] for question in questions]
    sequences = [[*q.prompt_ids, *answer[:-1]] for q, answer in zip(questions, answers, strict=True)]
    width = max(map(len, sequences))
    ids = torch.tensor([[*sequence, *[0] * (width - len(sequence))] for sequence in sequences])
    mask = torch.tensor([[1] * len(sequence) + [0] * (width - len(sequence)) for sequence in sequences])
    logits = model(inputs_embeds=matrix[ids], attention_mask=mask).logits
    predicting = [
        logits[row, len(question.prompt_ids) - 1 :][: len(answer)]
        for row, (question, answer) in enumerate(zip(questions, answers, strict=True))
    ]
    targets = torch.tensor([token for answer in answers for token in answer])
    return nn.functional.cross_entropy(torch.cat(predicting), targets)


@pytest.mark.parametrize("architecture", sorted(PADDED))
def test_losses_and_gradients_of_two_arms_are_those_of_a_padded_batch_with_peft(architecture, tmp_path):
    lm = check_model(tiny_model_of(architecture, PADDED[architecture][0]))
    configs = two_arms("all-linear" if architecture in WITHOUT_ATTENTION else "attention")
    setting = Setting(lm)
    inputs = [setting.inputs(config) for config in configs]
    with attached(lm.model, [config.lora for config in configs], [0, 1]) as lora:
        with torch.no_grad():
            for arm in range(2):
                disturb(lora, arm)
                lora.save(arm, tmp_path / str(arm))
        loss = MicroBatchLoss(lm, configs, inputs, lora, setting.mean_square, None)
        batch = make_batch(setting.questions, k_tokens=3, micro_batch_tokens=100_000)
        (micro_batch,) = batch.micro_batches
        losses = loss.backward(micro_batch, batch.totals)[0]
        gradients = [lora.factors_in(lora.row(arm).grad, arm) for arm in range(2)]
    for arm, config in enumerate(configs):
        fresh = tiny_model_of(architecture, PADDED[architecture][0]).model
        model = peft.PeftModel.from_pretrained(fresh, tmp_path / str(arm), is_trainable=True).eval()
        ours = [parameter.grad.clone() for parameter in inputs[arm].parameters()]
        inputs[arm].zero_grad()
        matrix = inputs[arm](torch.arange(len(lm.embedding_matrix)))
        supervision = config.supervision
        expected = supervision.ce_weight * direct_loss(model, matrix, setting.questions, supervision.k_tokens)
        expected.backward()
        torch.testing.assert_close(losses[arm], expected.detach(), atol=1e-5, rtol=1e-5)
        theirs = {
            name.replace(".default", ""): parameter.grad
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        assert theirs.keys() == gradients[arm].keys()
        largest = max(float(gradient.abs().max()) for gradient in theirs.values())
        assert largest > 1e-3
        for name, gradient in gradients[arm].items():
            torch.testing.assert_close(gradient, theirs[name], atol=1e-5 * max(1.0, largest), rtol=1e-4)
        for own, parameter in zip(ours, inputs[arm].parameters(), strict=True):
            torch.testing.assert_close(own, parameter.grad, atol=1e-5 * max(1.0, float(own.abs().max())), rtol=1e-4)


@pytest.mark.parametrize("architecture", sorted(PADDED))
def test_a_padded_model_in_bfloat16_learns_and_answers_as_its_own_generate(architecture):
    model = tiny_model_of(architecture, PADDED[architecture][0])
    lm = check_model(replace(model, model=model.model.bfloat16()))
    lora = {"rank": 2, "alpha": 4, "dropout": 0.1}
    if architecture in WITHOUT_ATTENTION:
        lora["targets"] = "all-linear"
    training = {"epochs": 3, "batch_size": 3, "warmup_steps": 0, "lora_lr": 1e-2}
    (trained,) = train_together(arm_config(lora=lora, training=training), lm=lm)
    losses = [step["loss"] for step in trained.metrics]
    assert sum(losses[-2:]) < sum(losses[:2])
    (found,) = greedy(lm, lm.embedding_matrix, PROMPTS[:1], NEVER)
    lm.model.generation_config.eos_token_id = None
    own = lm.model.generate(torch.tensor(PROMPTS[:1]), max_new_tokens=6, do_sample=False)
    assert list(found.ids) == own[0, len(PROMPTS[0]) :].tolist()


@pytest.mark.parametrize("batching", ["padded", "equal"])
def test_a_model_that_can_do_both_answers_alike_padded_and_packed(batching):
    packed = tiny_lm()
    other = replace(packed, batching=batching)
    matrix = packed.embedding_matrix.flip(0)  # generated tokens are embedded by it too
    expected = greedy(packed, matrix, PROMPTS, NEVER)
    assert greedy(other, matrix, PROMPTS, NEVER) == expected
    assert len({continuation.ids for continuation in expected}) == len(PROMPTS)
    stops = StopRule(
        max_new_tokens=6, end_ids=frozenset({expected[0].ids[2]}), newline_ids=frozenset({expected[2].ids[1]})
    )
    stopped = greedy(packed, matrix, PROMPTS, stops)
    assert {continuation.stop_reason for continuation in stopped} >= {"end", "newline"}
    assert greedy(other, matrix, PROMPTS, stops) == stopped


def test_settings_of_the_models_own_decoding_do_not_count_and_are_left_as_they_were():
    lm = replace(tiny_lm(), batching="padded")
    expected = greedy(lm, lm.embedding_matrix, PROMPTS, NEVER)
    own = lm.model.generation_config
    own.repetition_penalty, own.do_sample, own.eos_token_id = 5.0, True, list(expected[0].ids)
    assert greedy(lm, lm.embedding_matrix, PROMPTS, NEVER) == expected
    assert lm.model.generation_config is own
    assert not lm.model.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize("share", [True, False])
def test_a_model_that_can_do_both_trains_alike_padded_and_packed(share):
    training = {"epochs": 2, "batch_size": 3, "warmup_steps": 0, "share_prefixes": share}
    configs = [
        arm_config(lora={"rank": 3, "dropout": 0.0}, supervision={"kd_weight": 0.1}, training=training),
        arm_config(lora={"rank": 2, "dropout": 0.0, "layers": 1}, training=training),
        arm_config(lora={"rank": 0}, training=training),
    ]
    packed = train_together(*configs)
    padded = train_together(*configs, lm=replace(tiny_lm(), batching="padded"))
    for one, other in zip(packed, padded, strict=True):
        assert [step.loss for step in other.steps] == pytest.approx([step.loss for step in one.steps], rel=1e-4)
        for name, tensor in one.state.items():
            torch.testing.assert_close(other.state[name], tensor, atol=1e-4, rtol=1e-3)


def test_the_window_of_a_padded_model_is_its_own_and_its_steps_are_not_fixed():
    lm = tiny_lm()
    lm.model.config.sliding_window = 64
    padded = replace(lm, batching="padded")
    assert lm.has_fixed_steps
    assert not padded.has_fixed_steps
    assert (lm.window, padded.window) == (64, None)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["Gemma2", "Mamba"])
def test_a_sweep_runs_and_an_exported_arm_gives_the_same_answers_as_a_checkpoint(architecture, tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    save_sweep_inputs(tmp_path)
    sizes = {**PADDED[architecture][0], "max_position_embeddings": 1024}
    tiny_model_of(architecture, sizes).model.save_pretrained(tmp_path / "model")
    lora = {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": "all-linear"}
    arms = {"baseline": {}, "r2": {"lora": lora}}
    training = {"epochs": 2, "batch_size": 4, "lora_lr": 0.1, "adapter_lr": 0.01}
    records = run_sweep(experiment(tmp_path, arms=arms, controls={}, training=training), tmp_path / "run")
    assert {record.name: record.error for record in records} == dict.fromkeys(("baseline", "r2"))
    for form in ("transformers", "peft"):
        export(find_arm(tmp_path / "run" / "r2", device="cpu"), tmp_path / form, form)
    lm, inputs = load_arm(find_arm(tmp_path / "run" / "r2", device="cpu"))
    assert lm.batching == "padded"
    matrix = inputs.matrix(torch.float32)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "transformers", dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    in_peft = peft.PeftModel.from_pretrained(base, tmp_path / "peft")
    for prompt, found in zip(PROMPTS, greedy(lm, matrix, PROMPTS, NEVER), strict=True):
        ids = torch.tensor([prompt])
        for model in (exported, in_peft):
            own = model.generate(input_ids=ids, max_new_tokens=6, do_sample=False, eos_token_id=None)
            assert own[0, len(prompt) :].tolist() == list(found.ids)
