"""The training loop against a plain one written out here, arms together against arms alone, and what is refused."""

import math

import pytest
import torch
import torch.nn.functional as F

from graph_recorder import attend_as_on_a_gpu, recorded
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment.scheduling import can_train_together
from thinwire.model.lora import attached
from thinwire.ops.cuda_graphs import GraphPool
from thinwire.results.arm_record import TrainingResult
from thinwire.training.microbatch_loss import MicroBatchLoss
from tiny_models import tiny_gemma_lm, tiny_lm
from tiny_training import Setting, arm_config, job, train_together, trained_tensors

SINGLE = {"epochs": 1, "batch_size": 5, "warmup_steps": 0}
"""All five questions in one step."""


def run(**changes):
    """Train one arm alone."""
    return train_together(arm_config(**changes))[0]


def assert_close(one, other, *, rel, abs_=1e-7):
    """Check that two arms' metrics are equal step by step, and None for the same names."""
    assert len(one.metrics) == len(other.metrics) > 0
    for metrics, others in zip(one.metrics, other.metrics, strict=True):
        assert {name for name, value in metrics.items() if value is None} == {
            name for name, value in others.items() if value is None
        }
        numbers = {name: value for name, value in metrics.items() if value is not None}
        assert {name: others[name] for name in numbers} == pytest.approx(numbers, rel=rel, abs=abs_)


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("make_lm", [tiny_lm, tiny_gemma_lm])
def test_the_gradient_of_a_step_is_that_of_the_loss_written_out_plainly(share, make_lm, taught):
    """The plain loop takes one question at a time, with full logits and embeddings for each position. The teacher is
    the model with text as input, or another model with codes as input."""
    setting, other = Setting(make_lm()), make_lm()
    for weight in other.model.parameters():
        weight.data.mul_(1.1)
    other_inputs = setting.inputs(arm_config(input="codec"))
    lm, questions = setting.lm, setting.questions
    config = arm_config(
        supervision={"k_tokens": 3, "ce_weight": 0.3, "first_token_ce_weight": 0.4, "kd_weight": 0.2},
        training={**SINGLE, "share_prefixes": share},
    )
    inputs = setting.inputs(config)
    with attached(lm.model, [config.lora], [0]) as lora:
        lora.row(0).data.add_(0.05)  # with a second factor of zero the gradient of the first would be zero
        modules = [module for module in lm.model.modules() if hasattr(module, "down")]
        parameters = [*inputs.parameters(), *(factor for module in modules for factor in (module.down, module.up))]
        prompt_tokens = sum(len(q.prompt_ids) for q in questions)
        answer_tokens = sum(len(q.answer_ids[:3]) for q in questions)
        loss = 0.0
        for q in questions:
            ids = torch.tensor(q.prompt_ids + q.answer_ids[:3])
            embeddings = inputs(ids)
            start = len(q.prompt_ids)
            cosine = F.cosine_similarity(embeddings[:start], lm.embedding_matrix[ids[:start]], dim=-1)
            error = (embeddings[:start] - lm.embedding_matrix[ids[:start]]).square().mean(-1) / setting.mean_square
            loss = loss + ((1 - cosine).sum() + 0.1 * error.sum()) / prompt_tokens
            logits = lm.model(inputs_embeds=embeddings[None]).logits[0, start - 1 : -1]
            with torch.no_grad(), lora.disabled():
                out = other.model(inputs_embeds=other_inputs(ids)[None]) if taught else lm.model(input_ids=ids[None])
                teacher = out.logits[0, start - 1 : -1]
            ce = F.cross_entropy(logits, ids[start:], reduction="sum")
            kd = (teacher.softmax(-1) * (teacher.log_softmax(-1) - logits.log_softmax(-1))).sum()
            loss = loss + (0.3 * ce + 0.2 * kd) / answer_tokens
            loss = loss + 0.4 * F.cross_entropy(logits[0], ids[start]) / len(questions)
        expected = torch.autograd.grad(loss, parameters)

        steps = []
        captured = {}

        def capture(metrics, total):
            steps.append(metrics)
            captured.update(enumerate(p.grad.clone() for p in parameters))

        student = job(config, inputs, on_step=capture)
        setting.train([student], lora, teacher=(other, other_inputs) if taught else None)
        assert steps[0].loss == pytest.approx(loss.item(), rel=1e-5)
        norm = math.sqrt(sum(float(g.square().sum()) for g in expected))
        assert math.hypot(steps[0].grad_norm_adapter, steps[0].grad_norm_lora) == pytest.approx(norm, rel=1e-4)
        clip = min(1.0, config.training.clip_norm / norm)
        for number, gradient in enumerate(expected):
            torch.testing.assert_close(captured[number], gradient * clip, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("micro_batch_tokens", [1, 400])
def test_splitting_a_batch_into_micro_batches_changes_nothing_but_rounding(micro_batch_tokens):
    config = arm_config()
    (whole,), (split,) = train_together(config), train_together(config, micro_batch_tokens=micro_batch_tokens)
    assert_close(whole, split, rel=2e-4, abs_=1e-6)


def test_sharing_prefixes_changes_nothing_but_rounding():
    shared, whole = (run(training={"epochs": 4, "batch_size": 5, "share_prefixes": share}) for share in (True, False))
    assert_close(shared, whole, rel=2e-4, abs_=1e-6)


def test_the_same_seed_gives_identical_metrics_dropout_included():
    lora = {"rank": 2, "dropout": 0.3}
    first, second, other = run(lora=lora), run(lora=lora), run(lora=lora, seed=1)
    assert first.metrics == second.metrics
    assert all(torch.equal(first.state[name], second.state[name]) for name in first.state)
    assert first.metrics != other.metrics


def test_every_trained_tensor_moves_and_the_frozen_model_does_not():
    setting, config = Setting(), arm_config()
    inputs = setting.inputs(config)
    frozen = {name: p.clone() for name, p in setting.lm.model.named_parameters()}
    with attached(setting.lm.model, [config.lora], [0]) as lora:
        start = trained_tensors(inputs, lora)
        setting.train([job(config, inputs)], lora)
        end = trained_tensors(inputs, lora)
    assert len(start) == len(list(inputs.parameters())) + 2 * 4 * 2  # a factor pair for q, k, v, o of two layers
    assert all(not torch.equal(start[name], end[name]) for name in start)
    assert all(torch.equal(frozen[name], p) for name, p in setting.lm.model.named_parameters())


def test_clipping_covers_adapter_and_lora_together():
    setting, config = Setting(), arm_config(training={**SINGLE, "clip_norm": 1e-3})
    inputs, steps, norms = setting.inputs(config), [], []
    with attached(setting.lm.model, [config.lora], [0]) as lora:
        parameters = [*inputs.parameters(), lora.row(0)]

        def measure(metrics, total):
            steps.append(metrics)
            norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in parameters)))

        setting.train([job(config, inputs, on_step=measure)], lora)
    assert steps[0].grad_norm_adapter > 1e-3  # before clipping
    assert steps[0].grad_norm_lora > 0
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)


def test_the_best_epochs_weights_are_restored():
    scores = {1: 0.2, 2: 0.9, 3: 0.5}
    setting, config = Setting(), arm_config(training={**SINGLE, "epochs": 3})
    inputs, states = setting.inputs(config), {}
    with attached(setting.lm.model, [config.lora], [0]) as lora:

        def select(epoch):
            states[epoch] = trained_tensors(inputs, lora)
            return scores[epoch]

        (result,) = setting.train([job(config, inputs, select=select)], lora)
        end = trained_tensors(inputs, lora)
    assert (result.best_epoch, result.best_score, result.num_steps) == (2, 0.9, 3)
    assert all(torch.equal(states[2][name], end[name]) for name in end)
    assert any(not torch.equal(states[3][name], end[name]) for name in end)


def test_each_arm_keeps_its_own_best_epoch():
    setting, config = Setting(), arm_config(training={**SINGLE, "epochs": 3})
    inputs, states = [setting.inputs(config) for _ in range(3)], {}
    with attached(setting.lm.model, [config.lora] * 3, [0, 1, 2]) as lora:

        def selects(arm):
            def select(epoch):
                states[arm, epoch] = trained_tensors(inputs[arm], lora, arm)
                return float(epoch == arm + 1)

            return select

        results = setting.train([job(config, inputs, select=selects(arm)) for arm, inputs in enumerate(inputs)], lora)
        ends = [trained_tensors(inputs, lora, arm) for arm, inputs in enumerate(inputs)]
    assert [result.best_epoch for result in results] == [1, 2, 3]
    for arm, end in enumerate(ends):
        assert all(torch.equal(states[arm, arm + 1][name], end[name]) for name in end)


def test_of_equal_epochs_the_first_is_kept():
    (trained,) = train_together(arm_config(), select=lambda epoch: 0.5)
    assert trained.result.best_epoch == 1


def test_a_loss_that_is_not_finite_stops_the_arm_before_the_update():
    setting, config = Setting(), arm_config(lora={"rank": 0})
    inputs = setting.inputs(config)
    inputs.adapter.linear.bias.data[0] = math.nan
    weight = inputs.adapter.linear.weight.detach().clone()
    (error,) = setting.train([job(config, inputs)], None)
    assert isinstance(error, ThinwireError)
    assert "loss at step 1 became nan" in str(error)
    assert torch.equal(inputs.adapter.linear.weight, weight)


def test_lora_without_supervision_is_refused():
    with pytest.raises(UsageError, match="nothing would train LoRA"):
        run(supervision={"ce_weight": 0.0})


def test_an_arm_with_nothing_to_train_is_refused():
    with pytest.raises(UsageError, match=r"nothing to train.*set training\.epochs=0"):
        run(input="codec", lora={"rank": 0})


def test_without_supervision_the_model_is_never_run():
    lm = tiny_lm()
    lm.model.get_decoder().register_forward_hook(lambda *_: pytest.fail("the model ran"))
    (trained,) = train_together(arm_config(lora={"rank": 0}, supervision={"ce_weight": 0.0}), lm=lm)
    assert trained.steps[0].ce is None
    assert trained.steps[-1].cosine > trained.steps[0].cosine


def test_metrics_that_an_arm_does_not_have_are_none():
    first = run(input="text").steps[0]
    assert first.cosine is None
    assert first.relative_mse is None
    assert first.lr_adapter is None
    assert first.grad_norm_adapter is None
    assert first.kd is None
    assert first.ce > 0
    first = run(lora={"rank": 0}).steps[0]
    assert first.lr_lora is None
    assert first.grad_norm_lora is None
    assert first.cosine > 0


@pytest.mark.parametrize("k_tokens", [1, 2, 4])
def test_the_first_token_alone_is_what_one_supervised_token_is(k_tokens):
    weights = {"ce_weight": 0.0, "first_token_ce_weight": 0.3}
    first = run(supervision={**weights, "k_tokens": k_tokens})
    one = run(supervision={"ce_weight": 0.3, "k_tokens": 1})
    assert first.metrics == one.metrics
    assert first.result.num_tokens == one.result.num_tokens
    assert all(torch.equal(tensor, one.state[name]) for name, tensor in first.state.items())


def test_the_metrics_of_a_step_add_up_to_its_loss():
    supervision = {"k_tokens": 3, "ce_weight": 0.3, "first_token_ce_weight": 0.4, "kd_weight": 0.2}
    for step in run(supervision=supervision).steps:
        reconstruction = (1 - step.cosine) + 0.1 * step.relative_mse
        supervised = 0.3 * step.ce + 0.4 * step.first_token_ce + 0.2 * step.kd
        assert step.loss == pytest.approx(reconstruction + supervised, rel=1e-5)


def test_each_arm_of_a_group_has_its_own_weight_of_the_first_token():
    weights = ({"ce_weight": 0.3}, {"first_token_ce_weight": 0.4}, {"ce_weight": 0.0, "first_token_ce_weight": 0.2})
    configs = [arm_config(supervision=supervision) for supervision in weights]
    for config, arm in zip(configs, train_together(*configs), strict=True):
        (alone,) = train_together(config)
        assert_close(arm, alone, rel=1e-4)
        assert arm.result.num_tokens == alone.result.num_tokens


def test_the_teachers_input_is_text_without_lora():
    supervision = {"ce_weight": 0.0, "kd_weight": 1.0}
    first = run(input="text", supervision=supervision, lora={"rank": 2, "dropout": 0.0}).steps[0]
    # The student starts equal to its teacher: text as input, and LoRA whose second factor is zero.
    assert first.kd == pytest.approx(0.0, abs=1e-6)


def long(**training):
    """Training settings of fifty steps: 25 epochs of two."""
    return {"epochs": 25, "batch_size": 3, **training}


DIFFERENT = {
    "baseline": {"lora": {"rank": 0, "dropout": 0.0}, "training": long()},
    "first_layer": {
        "lora": {"rank": 2, "alpha": 4, "layers": 1, "dropout": 0.0},
        "training": long(clip_norm=0.02),
    },
    "all_layers": {"lora": {"rank": 4, "alpha": 32, "dropout": 0.0}, "training": long(lora_lr=1e-4)},
    "distilled": {
        "lora": {"rank": 3, "alpha": 3, "targets": ("q_proj", "down_proj"), "dropout": 0.0},
        "supervision": {"ce_weight": 0.1, "first_token_ce_weight": 0.2, "kd_weight": 0.2, "k_tokens": 2},
        "adapter": {"hidden": 12},
        "training": long(adapter_lr=5e-4, lora_lr=3e-3, weight_decay=0.1, warmup_steps=7),
    },
    "text": {
        "input": "text",
        "lora": {"rank": 2, "alpha": 2, "dropout": 0.0},
        "supervision": {"ce_weight": 0.5, "k_tokens": 1},
        "training": long(),
    },
    "codec": {
        "input": "codec",
        "lora": {"rank": 1, "alpha": 2, "dropout": 0.0},
        "supervision": {"ce_weight": 0.0, "first_token_ce_weight": 0.01},
        "training": long(),
    },
}


@pytest.mark.slow
def test_arms_trained_together_have_the_metrics_and_weights_of_each_trained_alone():
    configs = [arm_config(**changes) for changes in DIFFERENT.values()]
    together = train_together(*configs)
    for name, config, arm in zip(DIFFERENT, configs, together, strict=True):
        (alone,) = train_together(config)
        assert len(arm.steps) == 50, name
        assert [step.loss for step in arm.steps] == pytest.approx([step.loss for step in alone.steps], rel=1e-5), name
        assert_close(arm, alone, rel=1e-4)
        for tensor, expected in alone.state.items():
            torch.testing.assert_close(arm.state[tensor], expected, atol=1e-6, rtol=1e-5)
        assert (arm.result.trained_together, alone.result.trained_together) == (6, 1)
        assert arm.result.num_tokens == alone.result.num_tokens
    # One arm was clipped at almost every step, another at none, and losses fell.
    by_name = dict(zip(DIFFERENT, together, strict=True))
    clipped = [math.hypot(s.grad_norm_adapter, s.grad_norm_lora) > 0.02 for s in by_name["first_layer"].steps]
    assert sum(clipped) > 40
    assert all(math.hypot(s.grad_norm_adapter, s.grad_norm_lora) < 1 for s in by_name["all_layers"].steps)
    assert by_name["distilled"].steps[-1].loss < 0.7 * by_name["distilled"].steps[0].loss


@pytest.mark.slow
def test_padding_to_shape_buckets_changes_nothing_but_rounding(monkeypatch):
    captured = []
    monkeypatch.setattr(GraphPool, "captured", lambda self, step: captured.append(step) or step)
    configs = [arm_config(**changes) for changes in DIFFERENT.values()]
    expected = train_together(*configs)
    assert not captured
    # Six arms with 100 tokens each: several micro-batches in a step.
    padded = train_together(*configs, use_cuda_graphs=True, micro_batch_tokens=6 * 100)
    assert 0 < len(captured) <= 8, "of 50 steps, each of several micro-batches"
    for one, other in zip(expected, padded, strict=True):
        assert_close(other, one, rel=1e-4, abs_=1e-6)
        for tensor, expected in one.state.items():
            torch.testing.assert_close(other.state[tensor], expected, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_captured_micro_batches_give_the_same_metrics(dropout, monkeypatch):
    configs = [arm_config(**changes) for changes in DIFFERENT.values()]
    with_dropout = [c.model_copy(update={"lora": c.lora.model_copy(update={"dropout": dropout})}) for c in configs]
    attend_as_on_a_gpu(monkeypatch)
    expected = train_together(*with_dropout, use_cuda_graphs=True)
    monkeypatch.setattr(GraphPool, "captured", recorded)
    for one, other in zip(expected, train_together(*with_dropout, use_cuda_graphs=True), strict=True):
        assert other.metrics == one.metrics
        assert all(torch.equal(other.state[name], tensor) for name, tensor in one.state.items())


@pytest.mark.parametrize("use_cuda_graphs", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_trying_the_memory_before_training_changes_no_metric(dropout, use_cuda_graphs, monkeypatch):
    attend_as_on_a_gpu(monkeypatch)
    monkeypatch.setattr(GraphPool, "captured", recorded)
    configs = [arm_config(lora={"rank": rank, "alpha": 4, "dropout": dropout}) for rank in (1, 3)]
    for one, other in zip(
        train_together(*configs, use_cuda_graphs=use_cuda_graphs),
        train_together(*configs, use_cuda_graphs=use_cuda_graphs, is_tried=True),
        strict=True,
    ):
        assert_close(one, other, rel=0, abs_=0)


@pytest.mark.parametrize("use_cuda_graphs", [False, True])
def test_micro_batches_that_do_not_fit_the_memory_are_split_before_training(use_cuda_graphs, monkeypatch, caplog):
    rows = []
    backward = MicroBatchLoss.backward

    def with_memory_for_220_rows(self, micro_batch, totals):
        rows.append(len(micro_batch.indices))
        if len(micro_batch.indices) > 220:
            raise torch.OutOfMemoryError
        return backward(self, micro_batch, totals)

    config = arm_config()
    (expected,) = train_together(config)
    monkeypatch.setattr(MicroBatchLoss, "backward", with_memory_for_220_rows)
    with caplog.at_level("INFO", logger="thinwire"):
        (split,) = train_together(config, micro_batch_tokens=500, use_cuda_graphs=use_cuda_graphs, is_tried=True)
    assert "micro-batches do not fit the device's memory; trying 256 tokens of each arm" in caplog.messages
    assert max(rows) > 220, "a larger micro-batch was tried"
    assert split.result.num_steps == expected.result.num_steps
    assert_close(expected, split, rel=2e-3)


def test_arms_that_differ_only_in_their_seed_start_with_different_factors():
    (one, other) = train_together(arm_config(training=SINGLE), arm_config(training=SINGLE, seed=1))
    assert any(not torch.equal(one.state[name], other.state[name]) for name in one.state if "lora_A" in name)


class Failing(torch.nn.Module):
    """Input embeddings that are NaN from the ``first`` call on, counted from 1."""

    def __init__(self, inputs, first):
        super().__init__()
        self.inputs, self._left = inputs, first

    def forward(self, tokens):
        self._left -= 1
        out = self.inputs(tokens)
        return out if self._left > 0 else out * math.nan


FAULTS = {
    # A step is one micro-batch here, so the fourth call is the fourth step.
    "its input embeddings are NaN from the fourth step on": ({}, lambda inputs: Failing(inputs, 4), 3),
    "its learning rate is far too high": ({"adapter_lr": 1e30}, lambda inputs: inputs, 1),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_only_the_arm_that_diverges_ends_with_its_weights_of_before_that_step(fault):
    changes, change, num_good = FAULTS[fault]
    training = {"epochs": 5, "batch_size": 3, "weight_decay": 0.1}
    good = [arm_config(training=training), arm_config(training=training, lora={"rank": 0})]
    bad = arm_config(training={**training, **changes}, lora={"rank": 4, "dropout": 0.0})

    setting = Setting()
    configs = [good[0], bad, good[1]]
    inputs = [setting.inputs(config) for config in configs]
    inputs[1] = change(inputs[1])
    steps, states = [[], [], []], []

    with attached(setting.lm.model, [c.lora for c in configs], [c.seed for c in configs]) as lora:

        def note(number):
            def on_step(metrics, total):
                steps[number].append(metrics)
                if number == 1:
                    states.append(trained_tensors(inputs[1], lora, 1))

            return on_step

        jobs = [job(c, r, on_step=note(n)) for n, (c, r) in enumerate(zip(configs, inputs, strict=True))]
        results = setting.train(jobs, lora)
        end = trained_tensors(inputs[1], lora, 1)
        padding = [m.down[0, 2:] for m in setting.lm.model.modules() if hasattr(m, "down")]
        assert all(not tensor.any() for tensor in padding), "nothing of the failed arm reached another's row"

    assert isinstance(results[1], ThinwireError)
    assert f"step {num_good + 1} became" in str(results[1])
    assert len(steps[1]) == num_good
    assert end.keys() == states[-1].keys()
    assert all(torch.equal(end[name], states[-1][name]) for name in end)
    for number, trained in zip((0, 2), train_together(*good), strict=True):
        assert isinstance(results[number], TrainingResult)
        assert len(steps[number]) == 10
        assert [step.loss for step in steps[number]] == pytest.approx([step.loss for step in trained.steps], rel=1e-5)


def test_captured_micro_batches_go_on_for_the_others_when_an_arm_has_ended(monkeypatch):
    training = {"epochs": 10, "batch_size": 3}
    good, bad = arm_config(training=training), arm_config(training={**training, "adapter_lr": 1e30})
    (expected,) = train_together(good)
    attend_as_on_a_gpu(monkeypatch)
    monkeypatch.setattr(GraphPool, "captured", recorded)
    ended, trained = train_together(bad, good, use_cuda_graphs=True)
    assert isinstance(ended.result, ThinwireError)
    assert len(ended.steps) == 1
    assert_close(trained, expected, rel=1e-4, abs_=1e-6)


def test_training_ends_when_no_arm_is_left():
    config = arm_config(training={"epochs": 3, "batch_size": 3})
    calls = []

    def counted(number, inputs):
        inputs.register_forward_hook(lambda *_: calls.append(number))
        return Failing(inputs, 2)

    trained = train_together(
        config, config, change_inputs=counted, select=lambda _: pytest.fail("no arm is left to be scored")
    )
    assert [str(one.result)[:21] for one in trained] == ["loss at step 2 became"] * 2
    assert calls == [0, 1, 0, 1]
    assert [len(one.steps) for one in trained] == [1, 1]


def test_a_trained_tensor_without_a_gradient_is_an_error():
    class Half(torch.nn.Module):
        def __init__(self, inputs):
            super().__init__()
            self.inputs, self.idle = inputs, torch.nn.Parameter(torch.zeros(2))

        def forward(self, tokens):
            return self.inputs(tokens)

    trained = train_together(arm_config(), arm_config(), change_inputs=lambda n, r: Half(r) if n == 1 else r)
    assert isinstance(trained[0].result, TrainingResult)
    assert "1 of" in str(trained[1].result)
    assert "wired wrong" in str(trained[1].result)


LORA = {"rank": 2, "dropout": 0.1}


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ({}, {}, True),
        ({}, {"lora": {"rank": 4, "alpha": 1, "layers": 1, "targets": ("q_proj",), "dropout": 0.0}}, True),
        ({}, {"lora": {"rank": 0, "dropout": 0.5}}, True),  # no LoRA, no dropout
        ({}, {"lora": {"rank": 2, "dropout": 0.5}}, False),
        ({}, {"supervision": {"ce_weight": 1.0, "kd_weight": 0.5}}, True),
        ({}, {"supervision": {"kd_weight": 0.5, "teacher": "runs/one/text_lora"}}, True),
        ({}, {"supervision": {"teacher": "not used"}}, True),
        ({"supervision": {"kd_weight": 1}}, {"supervision": {"kd_weight": 1, "teacher": "runs/one/text_lora"}}, False),
        ({}, {"supervision": {"k_tokens": 2}}, True),
        ({}, {"supervision": {"ce_weight": 0, "first_token_ce_weight": 0.01}}, True),
        ({}, {"codec": {"ratio": 2}, "adapter": {"hidden": 4}, "reconstruction": {"steps": 5}}, True),
        ({}, {"training": {"epochs": 2, "batch_size": 3, "adapter_lr": 1, "lora_lr": 1, "warmup_steps": 3}}, True),
        ({}, {"training": {"epochs": 2, "batch_size": 3, "weight_decay": 1, "clip_norm": 9}}, True),
        ({}, {"training": {"epochs": 3, "batch_size": 3}}, False),
        ({}, {"training": {"epochs": 2, "batch_size": 4}}, False),
        ({}, {"training": {"epochs": 2, "batch_size": 3, "micro_batch_tokens": 9}}, False),
        ({}, {"training": {"epochs": 2, "batch_size": 3, "share_prefixes": False}}, False),
        ({}, {"input": "text"}, True),
        ({}, {"input": "codec"}, True),
        ({}, {"input": "codec", "lora": {"rank": 0}}, False),  # trains nothing
        ({"training": {"epochs": 0}}, {"training": {"epochs": 0}}, False),
        ({}, {"lora": {"rank": 0}, "supervision": {"ce_weight": 0}}, False),  # never runs the model
        ({}, {"seed": 1}, False),
        ({}, {"context": False}, False),
        ({}, {"prompt": {"max_tokens": 99}}, False),
        ({}, {"evaluation": {"samples": 3, "score": "raw"}}, True),
    ],
)
def test_arms_train_together_if_they_see_the_same_questions_and_differ_in_what_is_their_own(one, other, together):
    first, second = arm_config(**one), arm_config(**other)
    assert can_train_together(first, second) is together
    assert can_train_together(second, first) is together


def test_time_is_shared_among_the_arms_of_a_group():
    one, other = train_together(arm_config(), arm_config())
    assert one.result.seconds == other.result.seconds > 0
    # Tokens per second count both arms; the times of both arms add up to the group's.
    seconds = sum(2 * one.result.num_tokens / 4 / step.tokens_per_second for step in one.steps)
    assert one.result.seconds + other.result.seconds == pytest.approx(seconds, rel=0.5)
    assert one.result == other.result
