import pytest
import torch

from thinwire.adapter import metrics
from thinwire.errors import ThinwireError


def measure(rebuilt, matrix, counts, mean_square):
    """Measure all rows of a matrix."""
    return metrics.measure(rebuilt, torch.arange(len(matrix)), matrix, counts, mean_square)


def test_metrics_by_hand():
    matrix = torch.tensor([[1.0, 0], [0, 2], [3, 3]])
    guess = torch.tensor([[1.0, 0], [2, 0], [9, 9]])
    # Row 1 has cosine 0, error (4 + 4) / 2 = 4, and row 0 is nearer than itself; row 2 was never seen.
    found = measure(guess, matrix, torch.tensor([3.0, 1, 0]), mean_square=0.5)
    assert found.model_dump() == {"cosine": 0.75, "relative_mse": 1 / 4 * 4 / 0.5, "nearest_row_accuracy": 0.75}


@pytest.mark.parametrize("value", [1e30, torch.inf, torch.nan])
def test_embeddings_of_a_training_that_diverged_are_refused_in_words(value):
    matrix = torch.tensor([[1.0, 0], [0, 2]])
    with pytest.raises(ThinwireError, match="the training diverged; lower its rates"):
        measure(torch.full((2, 2), value), matrix, torch.ones(2), mean_square=1.0)


def test_rows_with_count_zero_do_not_change_the_metrics():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(40, 6, generator=generator)
    guess = matrix + torch.randn(40, 6, generator=generator)
    counts = torch.randint(0, 3, (40,), generator=generator).double()
    rows = counts.nonzero()[:, 0]
    some = metrics.measure(guess[rows], rows, matrix, counts[rows], 0.5)
    assert some.model_dump() == pytest.approx(measure(guess, matrix, counts, 0.5).model_dump())
    by_frequency = metrics.measure_by_frequency(guess[rows], rows, matrix, counts[rows])
    assert by_frequency == metrics.measure_by_frequency(guess, torch.arange(40), matrix, counts)


def test_a_perfect_matrix_has_perfect_metrics_even_for_parallel_rows():
    # Nearest by distance, not by angle: the second row is the first, twice as long.
    matrix = torch.tensor([[1.0, 1], [2, 2], [0, 1]])
    assert measure(matrix, matrix, torch.ones(3), 1.0).model_dump() == pytest.approx(
        {"cosine": 1.0, "relative_mse": 0.0, "nearest_row_accuracy": 1.0}
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.7, 1.2])
def test_the_nearest_rows_are_those_of_all_distances_written_out(noise, dtype):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(300, 24, generator=generator)
    matrix[150:] = matrix[:150] + 0.01 * torch.randn(
        150, 24, generator=generator
    )  # neighbours closer than bfloat16 sees
    matrix = matrix.to(dtype)
    guess = matrix.float() + noise * torch.randn(300, 24, generator=generator)
    nearest = torch.cdist(guess.double(), matrix.double()).argmin(-1)
    expected = float((nearest == torch.arange(300)).double().mean())
    assert (noise == 0) == (expected == 1)
    assert measure(guess, matrix, torch.ones(300), 1.0).nearest_row_accuracy == pytest.approx(expected, abs=1e-9)
