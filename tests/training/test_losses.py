"""The reconstruction and supervised losses, worked out by hand."""

import math

import pytest
import torch

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.codecs.reconstruction_loss import matrix_mean_square, reconstruction_terms
from thinwire.config.experiment import ArmConfig
from thinwire.data.prompts import Encoded
from thinwire.errors import ThinwireError, check_finite
from thinwire.schema import build
from thinwire.training import microbatch_loss
from thinwire.training.losses import cross_entropy, distillation
from thinwire.training.microbatch_loss import SUMS, MicroBatchLoss
from thinwire.training.microbatches import make_micro_batch
from tiny_models import example, tiny_lm


def asked(prompt, answer):
    return Encoded(example=example(), prompt_ids=tuple(prompt), answer_ids=tuple(answer), dropped=0)


def test_reconstruction_terms_by_hand():
    # Row 0 is twice its target, row 1 orthogonal to it: cosines 1 and 0; squared errors (1 + 0)/2 and (1 + 1)/2.
    predicted, target = torch.tensor([[2.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [1, 0]])
    cosine, error = reconstruction_terms(predicted, target, torch.tensor([3.0, 1]), mean_square=0.5)
    assert float(cosine) == pytest.approx(3 * 1 + 1 * 0)
    assert float(error) == pytest.approx((3 * 0.5 + 1 * 1.0) / 0.5)


def test_the_norm_is_part_of_the_loss():
    # The cosine ignores the norm; the squared error of a norm 100 times too large is 99 squared.
    target = torch.ones(1, 4)
    cosine, error = reconstruction_terms(100 * target, target, torch.ones(1), mean_square=1.0)
    assert float(cosine) == pytest.approx(1.0)
    assert float(error) == pytest.approx(99.0**2)


def test_predicting_zero_costs_a_relative_error_of_one():
    matrix, counts = torch.randn(50, 8), torch.arange(50.0)
    mean_square = matrix_mean_square(matrix, counts)
    _, error = reconstruction_terms(torch.zeros_like(matrix), matrix, counts, mean_square)
    assert float(error / counts.sum()) == pytest.approx(1.0, rel=1e-5)


def test_cross_entropy_and_distillation_by_hand():
    uniform = torch.zeros(2, 4)
    assert cross_entropy(uniform, torch.tensor([0, 3])).tolist() == pytest.approx([math.log(4)] * 2)
    teacher = torch.log(torch.tensor([[0.5, 0.5, 1e-30, 1e-30]]))
    # KL(teacher || uniform over 4) = 2 * 0.5 * log(0.5 / 0.25) = log 2; and 0 against itself.
    assert float(distillation(torch.zeros(1, 4), teacher)) == pytest.approx(math.log(2), abs=1e-5)
    assert float(distillation(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)


def test_the_first_tokens_cross_entropy_is_a_mean_over_answers_and_the_other_one_over_tokens(monkeypatch):
    """Two answers, of three tokens and of one; the model is uniform over 4 tokens, or certain of the right one."""
    certain, uniform = [100.0, 0, 0, 0], [0.0, 0, 0, 0]
    logits = torch.tensor([certain, uniform, uniform, uniform], requires_grad=True)
    monkeypatch.setattr(microbatch_loss, "answer_logits", lambda *_: logits[None])
    lm = tiny_lm()
    micro_batch = make_micro_batch([asked([7, 8], [0, 0, 0]), asked([7, 9], [0])], k_tokens=3)
    totals = torch.tensor([4.0, 2, 3, 4])
    config = build(
        ArmConfig,
        {"input": "text", "supervision": {"k_tokens": 3, "ce_weight": 0.5, "first_token_ce_weight": 0.25}},
        where="",
    )
    loss = MicroBatchLoss(lm, [config], [InputEmbeddings(lm.embedding_matrix)], None, 1.0, None)
    sums = dict(zip(SUMS, loss.backward(micro_batch, totals)[:, 0].tolist(), strict=True))
    # Tokens cost 0, log 4, log 4 and log 4; the first of each answer 0 and log 4.
    assert sums["ce"] == pytest.approx(3 / 4 * math.log(4))
    assert sums["first_token_ce"] == pytest.approx(1 / 2 * math.log(4))
    assert sums["loss"] == pytest.approx((0.5 * 3 / 4 + 0.25 * 1 / 2) * math.log(4))
    # A uniform token's gradient is (1/4 - 1, 1/4, 1/4, 1/4): the last answer's only token has both weights.
    assert logits.grad[1].tolist() == pytest.approx([0.5 / 4 * x for x in (-0.75, 0.25, 0.25, 0.25)])
    assert logits.grad[3].tolist() == pytest.approx([(0.5 / 4 + 0.25 / 2) * x for x in (-0.75, 0.25, 0.25, 0.25)])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_an_error(value):
    with pytest.raises(ThinwireError, match="loss at step 3 became"):
        check_finite("loss at step 3", value)
    assert check_finite("loss", 0.5) == 0.5
