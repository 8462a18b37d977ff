"""A teacher's states, computed once from text, in the place of its logits in every step."""

import pytest
import torch

from thinwire.config.block_settings import BlockKind
from thinwire.data.blocks import in_blocks
from thinwire.model.lora import attached
from thinwire.training.microbatch_loss import SUMS, MicroBatchLoss
from thinwire.training.microbatches import make_batch
from thinwire.training.shape_buckets import padded, plan_buckets, shape_of
from thinwire.training.teaching import reads_text, taught
from tiny_training import Setting, arm_config

KD = SUMS.index("kd")


def sums(setting, config, questions, *, teacher=None, is_padded=False):
    """The sums of one step of an arm, and the gradients of its adapter."""
    inputs = setting.inputs(config)
    loss = MicroBatchLoss(setting.lm, [config], [inputs], None, setting.mean_square, teacher)
    batch = make_batch(questions, config.supervision.k_tokens, 10_000)
    (micro_batch,) = batch.micro_batches
    if is_padded:
        (micro_batch,) = (padded(micro_batch, plan_buckets([shape_of(micro_batch)])),)
    found = loss.backward(micro_batch, batch.totals)
    return found, [parameter.grad.clone() for parameter in inputs.parameters()]


@pytest.mark.parametrize("is_padded", [False, True])
def test_states_from_text_teach_as_the_teacher_in_the_step_does(is_padded):
    setting, config = Setting(), arm_config(lora={"rank": 0}, supervision={"ce_weight": 0.3, "kd_weight": 1.0})
    expected, gradients = sums(setting, config, setting.questions)
    questions = taught(setting.questions, setting.questions, reads_text(setting.lm), config.supervision.k_tokens)
    found, own = sums(setting, config, questions, is_padded=is_padded)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert expected[KD].item() > 0
    assert all(torch.allclose(one, other, rtol=1e-3, atol=1e-6) for one, other in zip(own, gradients, strict=True))


def test_a_student_that_reads_the_text_itself_has_nothing_to_learn():
    supervision = {"k_tokens": 2, "ce_weight": 0, "kd_weight": 1}
    setting, config = Setting(), arm_config(input="text", lora={"rank": 2}, supervision=supervision)
    questions = taught(setting.questions, setting.questions, reads_text(setting.lm), 2)
    with attached(setting.lm.model, [config.lora], [0]) as lora:
        loss = MicroBatchLoss(setting.lm, [config], [setting.inputs(config)], lora, setting.mean_square, None)
        batch = make_batch(questions, 2, 10_000)
        found = loss.backward(batch.micro_batches[0], batch.totals)
    assert found[KD].item() == pytest.approx(0, abs=1e-6)


def test_each_question_keeps_its_own_states_whatever_the_order_and_form():
    setting = Setting()
    as_text = setting.questions[::-1]
    _, blocks, _ = in_blocks([], as_text, BlockKind(2, reads_context=False), len(setting.lm.embedding_matrix))
    found = taught(blocks, as_text, reads_text(setting.lm), 3)
    assert [one.prompt_ids for one in found] == [one.prompt_ids for one in blocks]
    for question, one in zip(as_text, found, strict=True):
        (alone,) = taught([question], [question], reads_text(setting.lm), 3)
        assert one.teacher_states.shape == (min(3, len(question.answer_ids)), setting.lm.embedding_matrix.shape[1])
        assert torch.allclose(one.teacher_states, alone.teacher_states, atol=1e-5)
