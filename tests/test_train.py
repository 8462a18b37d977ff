"""The training loop against a plain one written out here, and the rules that keep an experiment honest."""

import math

import pytest
import torch
import torch.nn.functional as F

from doubles import example, tiny_lm
from thinwire.adapter import Adapter
from thinwire.batching import token_counts
from thinwire.codecs import PCACodec
from thinwire.config import AdapterConfig, ArmConfig, build
from thinwire.determinism import deterministic_kernels, generator, seeded
from thinwire.errors import ThinwireError, UsageError
from thinwire.lora import attached
from thinwire.objective import table_mean_square
from thinwire.prompts import PromptEncoder
from thinwire.reader import AdapterReader, CodecReader, Reader
from thinwire.train import _rate, train

QUESTIONS = [
    ("Ada wrote the first program in 1843.", "1843"),
    ("The mill has 12 wheels and one miller, and stands by the river since the flood.", "12"),
    ("Rain fell.", "Rain"),
    ("Oslo lies by a fjord.", "Oslo"),
    ("It took 3 days.", "3 days"),
]


def setting(**changes):
    arm = build(
        ArmConfig,
        {
            "lora": {"rank": 2, "alpha": 4, "dropout": 0.0},
            "adapter": {"hidden": 8},
            "training": {"epochs": 2, "batch_size": 3, "warmup_steps": 0, "pass_tokens": 100_000},
            **changes,
        },
        where="",
    )
    lm = tiny_lm()
    encoder = PromptEncoder(lm.tokenizer, arm.prompt)
    questions = [encoder.encode(example(n, context=c, answer=a)) for n, (c, a) in enumerate(QUESTIONS)]
    counts = token_counts(questions, len(lm.table))
    codec = PCACodec.fit(lm.table, counts, 8)
    codes = codec.encode(lm.table)
    adapter = Adapter(codec, AdapterConfig(hidden=8), generator("cpu", 0, "adapter"))
    readers = {"adapter": AdapterReader(codes, adapter), "codec": CodecReader(codes, codec), "text": Reader(lm.table)}
    return arm, lm, questions, readers[arm.reads], table_mean_square(lm.table, counts)


def run(select=lambda epoch: epoch, **changes):
    arm, lm, questions, reader, mean_square = setting(**changes)
    steps = []
    with deterministic_kernels(), seeded(0, "lora"), attached(lm.model, arm.lora) as lora:
        outcome = train(
            lm,
            reader,
            lora,
            questions,
            arm,
            mean_square,
            on_step=lambda metrics, total: steps.append(metrics),
            select=select,
        )
        state = {**dict(reader.named_parameters()), **(lora.state() if lora else {})}
        return outcome, steps, {name: tensor.detach().clone() for name, tensor in state.items()}


def without_time(steps):
    return [{k: v for k, v in step.as_dict().items() if k != "tokens_per_second"} for step in steps]


def test_the_gradient_of_a_step_is_that_of_the_loss_written_out_plainly():
    """One question at a time, full logits, embeddings per position: the formula, with nothing trimmed or shared."""
    arm, lm, questions, reader, mean_square = setting(
        supervision={"k_tokens": 3, "ce_weight": 0.3, "kd_weight": 0.2}, training={"epochs": 1, "batch_size": 5}
    )
    with seeded(0, "lora"), attached(lm.model, arm.lora) as lora:
        for parameter in lora.parameters():
            parameter.data += 0.05  # with B = 0 the gradient of A would be zero
        before = {name: p.detach().clone() for name, p in reader.named_parameters()}
        for name, tensor in lora.state().items():
            before[name] = tensor

        parameters = [*reader.parameters(), *lora.parameters()]
        prompt_tokens = sum(len(q.prompt_ids) for q in questions)
        answer_tokens = sum(len(q.answer_ids[:3]) for q in questions)
        loss = 0.0
        for q in questions:
            ids = torch.tensor(q.prompt_ids + q.answer_ids[:3])
            embeddings = reader(ids)
            start = len(q.prompt_ids)
            cosine = F.cosine_similarity(embeddings[:start], lm.table[ids[:start]], dim=-1)
            error = (embeddings[:start] - lm.table[ids[:start]]).square().mean(-1) / mean_square
            loss = loss + ((1 - cosine).sum() + 0.1 * error.sum()) / prompt_tokens
            logits = lm.model(inputs_embeds=embeddings[None]).logits[0, start - 1 : -1]
            with torch.no_grad(), lora.disabled():
                teacher = lm.model(input_ids=ids[None]).logits[0, start - 1 : -1]
            ce = F.cross_entropy(logits, ids[start:], reduction="sum")
            kd = (teacher.softmax(-1) * (teacher.log_softmax(-1) - logits.log_softmax(-1))).sum()
            loss = loss + (0.3 * ce + 0.2 * kd) / answer_tokens
        expected = torch.autograd.grad(loss, parameters)

        steps = []
        captured = {}

        def capture(metrics, total):
            steps.append(metrics)
            captured.update(enumerate(p.grad.clone() for p in parameters))

        train(lm, reader, lora, questions, arm, mean_square, on_step=capture, select=lambda epoch: 0.0)
        assert steps[0].loss == pytest.approx(loss.item(), rel=1e-5)
        norm = math.sqrt(sum(float(g.square().sum()) for g in expected))
        clip = min(1.0, arm.training.clip_norm / norm)
        for number, gradient in enumerate(expected):
            torch.testing.assert_close(captured[number], gradient * clip, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("pass_tokens", [1, 400])
def test_splitting_a_batch_into_passes_changes_nothing_but_rounding(pass_tokens):
    training = {"epochs": 2, "batch_size": 3, "warmup_steps": 0}
    whole = run(training={**training, "pass_tokens": 100_000})
    split = run(training={**training, "pass_tokens": pass_tokens})
    for one, other in zip(without_time(whole[1]), without_time(split[1]), strict=True):
        numbers = {name: value for name, value in one.items() if value is not None}
        assert {name: other[name] for name in numbers} == pytest.approx(numbers, rel=2e-4, abs=1e-6)


def test_the_same_seed_gives_identical_figures_dropout_included():
    lora = {"rank": 2, "dropout": 0.3}
    first, second, other = run(lora=lora), run(lora=lora), run(lora=lora, seed=1)
    assert without_time(first[1]) == without_time(second[1])
    assert all(torch.equal(first[2][name], second[2][name]) for name in first[2])
    assert without_time(first[1]) != without_time(other[1])


def test_every_trained_tensor_moves_and_the_frozen_model_does_not():
    arm, lm, questions, reader, mean_square = setting()
    frozen = {name: p.clone() for name, p in lm.model.named_parameters()}
    with seeded(0, "lora"), attached(lm.model, arm.lora) as lora:
        start = {**{n: p.clone() for n, p in reader.named_parameters()}, **lora.state()}
        train(lm, reader, lora, questions, arm, mean_square, on_step=lambda *_: None, select=lambda epoch: 0.0)
        end = {**dict(reader.named_parameters()), **lora.state()}
        assert all(not torch.equal(start[name], end[name]) for name in start)
    assert all(torch.equal(frozen[name], p) for name, p in lm.model.named_parameters())


def test_clipping_covers_adapter_and_lora_together():
    _, steps, _ = run(training={"epochs": 1, "batch_size": 5, "clip_norm": 1e-3})
    assert steps[0].grad_norm_adapter > 1e-3  # before clipping
    assert steps[0].grad_norm_lora > 0
    arm, lm, questions, reader, mean_square = setting(training={"epochs": 1, "batch_size": 5, "clip_norm": 1e-3})
    norms = []
    with attached(lm.model, arm.lora) as lora:
        parameters = [*reader.parameters(), *lora.parameters()]

        def measure(metrics, total):
            norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in parameters)))

        train(lm, reader, lora, questions, arm, mean_square, on_step=measure, select=lambda epoch: 0.0)
    assert norms[0] == pytest.approx(1e-3, rel=1e-3)


def test_the_best_epochs_weights_are_put_back():
    scores = {1: 0.2, 2: 0.9, 3: 0.5}
    training = {"epochs": 3, "batch_size": 5, "warmup_steps": 0}
    states = {}
    arm, lm, questions, reader, mean_square = setting(training=training)
    with seeded(0, "lora"), attached(lm.model, arm.lora) as lora:

        def select(epoch):
            states[epoch] = {**{n: p.detach().clone() for n, p in reader.named_parameters()}, **lora.state()}
            return scores[epoch]

        outcome = train(lm, reader, lora, questions, arm, mean_square, on_step=lambda *_: None, select=select)
        end = {**dict(reader.named_parameters()), **lora.state()}
    assert (outcome.best_epoch, outcome.best_score, outcome.num_steps) == (2, 0.9, 3)
    assert all(torch.equal(states[2][name], end[name]) for name in end)
    assert any(not torch.equal(states[3][name], end[name]) for name in end)


def test_of_equal_epochs_the_first_is_kept():
    assert run(select=lambda epoch: 0.5)[0].best_epoch == 1


def test_a_loss_that_is_not_finite_stops_the_arm_before_the_update():
    arm, lm, questions, reader, mean_square = setting(lora={"rank": 0})
    reader.adapter.linear.bias.data[0] = math.nan
    weight = reader.adapter.linear.weight.detach().clone()
    with pytest.raises(ThinwireError, match="loss at step 1 became nan"):
        train(lm, reader, None, questions, arm, mean_square, on_step=lambda *_: None, select=lambda epoch: 0.0)
    assert torch.equal(reader.adapter.linear.weight, weight)


def test_lora_without_supervision_is_refused():
    with pytest.raises(UsageError, match="nothing would train LoRA"):
        run(supervision={"ce_weight": 0.0})


def test_without_supervision_the_model_is_never_run():
    arm, lm, questions, reader, mean_square = setting(lora={"rank": 0}, supervision={"ce_weight": 0.0})
    lm.model.get_decoder().register_forward_hook(lambda *_: pytest.fail("the model ran"))
    steps = []
    train(lm, reader, None, questions, arm, mean_square, on_step=lambda m, _: steps.append(m), select=lambda epoch: 0.0)
    assert steps[0].ce is None
    assert steps[-1].cosine > steps[0].cosine


def test_what_is_no_part_of_an_arm_is_null():
    _, steps, _ = run(reads="text")
    assert steps[0].cosine is None
    assert steps[0].relative_mse is None
    assert steps[0].lr_adapter is None
    assert steps[0].grad_norm_adapter is None
    assert steps[0].kd is None
    assert steps[0].ce > 0
    _, steps, _ = run(lora={"rank": 0})
    assert steps[0].lr_lora is None
    assert steps[0].grad_norm_lora is None
    assert steps[0].cosine > 0


def test_the_rate_warms_up_linearly_and_decays_to_zero():
    config = setting(training={"warmup_steps": "auto"})[0].training
    # 100 steps: warm-up min(20, 10) = 10, of 11 equal stairs; then from 90/90 down to 1/90.
    assert [round(_rate(step, 100, config), 4) for step in (0, 9, 10, 55, 99)] == [0.0909, 0.9091, 1.0, 0.5, 0.0111]
    assert _rate(20, 1000, config) == 1.0
    assert _rate(19, 1000, config) < 1.0


def test_the_teacher_reads_text_without_lora():
    _, steps, _ = run(reads="text", supervision={"ce_weight": 0.0, "kd_weight": 1.0}, lora={"rank": 2, "dropout": 0.0})
    # The student starts as its teacher: text, and LoRA that changes nothing yet. So there is nothing to learn.
    assert steps[0].kd == pytest.approx(0.0, abs=1e-6)
