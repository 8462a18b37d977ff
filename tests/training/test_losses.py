"""The reconstruction and supervised losses, worked out by hand."""

import math

import pytest
import torch

from thinwire.codecs.reconstruction_loss import matrix_mean_square, reconstruction_terms
from thinwire.errors import ThinwireError, check_finite
from thinwire.training.losses import cross_entropy, distillation


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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_an_error(value):
    with pytest.raises(ThinwireError, match="loss at step 3 became"):
        check_finite("loss at step 3", value)
    assert check_finite("loss", 0.5) == 0.5
