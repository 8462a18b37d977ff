"""The projection of blocks to codes and the encoder that reads codes: cases by hand, and PCA by another library."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.block_projection import fit_projection
from thinwire.adapter.making import make_block_encoder
from thinwire.config.block_settings import BlocksConfig
from thinwire.data.blocks import MISSING, blocks_apart
from thinwire.errors import ThinwireError, UsageError

MATRIX = torch.tensor([[2.0], [-2.0], [0.0], [1.0], [-1.0]])
CROSS = np.array([[0, 2], [1, 2], [2, 3], [2, 4]])
"""The vectors (2, 0), (-2, 0), (0, 1) and (0, -1)."""


def config(code_width, size=2):
    return BlocksConfig(size=size, encoder="pca", hidden=4, code_width=code_width)


def encoded(matrix, members, counts, made_of):
    """The embeddings of blocks by an encoder that was not trained."""
    projection = fit_projection(matrix, members, np.array(counts), made_of)
    encoder = make_block_encoder(made_of, matrix, torch.Generator().manual_seed(0), projection)
    return BlockEmbeddings(matrix, encoder, blocks_apart(members)).matrix(torch.float32)[len(matrix) :]


def test_the_axis_kept_is_that_of_the_blocks_that_occur_most():
    # Variances 2 x 4 / 4 = 2 in the first place and 2 x 1 / 4 = 1/2 in the second.
    once = fit_projection(MATRIX, CROSS, np.array([1, 1, 1, 1]), config(1))
    assert once.variance_kept == pytest.approx(0.8)
    assert once.components.tolist() == [[1, 0]]
    # 2 x 4 / 18 and 16 x 1 / 18: two thirds are in the second.
    often = fit_projection(MATRIX, CROSS, np.array([1, 1, 8, 8]), config(1))
    assert often.variance_kept == pytest.approx(2 / 3)
    assert often.components.tolist() == [[0, 1]]


def test_an_encoder_begins_as_the_mean_of_what_the_code_keeps():
    first = encoded(MATRIX, CROSS, [1, 1, 1, 1], config(1))
    assert first[:, 0].tolist() == pytest.approx([1, -1, 0, 0], abs=1e-6), "halves of the first place"
    second = encoded(MATRIX, CROSS, [1, 1, 8, 8], config(1))
    assert second[:, 0].tolist() == pytest.approx([0, 0, 0.5, -0.5], abs=1e-6)
    both = encoded(MATRIX, CROSS, [1, 1, 8, 8], config(2))
    assert both[:, 0].tolist() == pytest.approx([1, -1, 0.5, -0.5], abs=1e-6)


def test_places_without_a_token_are_zeros():
    gap, zero = np.array([[3, MISSING], [0, 1], [4, 0]]), np.array([[3, 2], [0, 1], [4, 0]])  # token 2 is zero
    ours, same = (fit_projection(MATRIX, members, np.array([3, 1, 1]), config(2)) for members in (gap, zero))
    assert all(torch.equal(ours.state()[name], tensor) for name, tensor in same.state().items())
    assert encoded(MATRIX, gap, [3, 1, 1], config(2))[0].tolist() == pytest.approx([0.5], abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 3), code_width=st.integers(1, 4))
def test_codes_are_those_of_scikit_learn_on_every_occurrence(seed, size, code_width):
    draw = np.random.default_rng(seed)
    matrix = torch.from_numpy(draw.normal(0.3, 1, (12, 4)).astype(np.float32))
    members = np.unique(draw.integers(0, 12, (40, size)), axis=0)
    counts = draw.integers(1, 9, len(members))
    fitted = fit_projection(matrix, members, counts, config(code_width, size))
    rows = matrix.double().numpy()[members].reshape(len(members), -1)
    reference = PCA(n_components=code_width, svd_solver="full").fit(np.repeat(rows, counts, axis=0))
    assert fitted.variance_kept == pytest.approx(reference.explained_variance_ratio_.sum(), abs=1e-6)
    expected = reference.explained_variance_ * (counts.sum() - 1) / counts.sum()
    np.testing.assert_allclose(fitted.variances.numpy(), expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(fitted.mean.numpy(), reference.mean_, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 3))
def test_codes_as_wide_as_a_block_lose_nothing(seed, size):
    draw = np.random.default_rng(seed)
    matrix = torch.from_numpy(draw.normal(0.3, 1, (12, 4)).astype(np.float32))
    members = np.unique(draw.integers(0, 12, (40, size)), axis=0)
    found = encoded(matrix, members, draw.integers(1, 9, len(members)), config(4 * size, size))
    torch.testing.assert_close(found, matrix[torch.from_numpy(members)].mean(1), atol=1e-5, rtol=1e-5)


def test_fitting_twice_gives_the_same_and_blocks_that_do_not_vary_lose_nothing():
    one, two = (fit_projection(MATRIX, CROSS, np.array([1, 2, 3, 5]), config(2)) for _ in range(2))
    assert one.fingerprint() == two.fingerprint()
    assert fit_projection(MATRIX, CROSS[:1], np.array([7]), config(1)).variance_kept == 1
    assert encoded(MATRIX, CROSS[:1], [7], config(1)).tolist() == [[1.0]]


def test_weights_that_were_saved_make_an_encoder_of_zeros_the_same():
    projection = fit_projection(MATRIX, CROSS, np.array([1, 2, 3, 5]), config(2))
    made = make_block_encoder(config(2), MATRIX, torch.Generator().manual_seed(0), projection)
    with torch.no_grad():
        made.map.output.weight.normal_(generator=torch.Generator().manual_seed(1))
    other = make_block_encoder(config(2), MATRIX, torch.Generator().manual_seed(2))
    assert (
        other.saved().keys()
        == made.saved().keys()
        == {
            *("mean", "components", "map.inverse_std", "map.unit"),
            *(f"map.{part}.{kind}" for part in ("linear", "hidden", "output") for kind in ("weight", "bias")),
        }
    )
    for name, tensor in made.saved().items():
        other.saved()[name].copy_(tensor)
    blocks = blocks_apart(CROSS)
    ours, theirs = (BlockEmbeddings(MATRIX, one, blocks).matrix(torch.float32) for one in (made, other))
    assert torch.equal(ours, theirs)


def test_a_code_is_a_quarter_of_an_embedding_by_default_and_at_most_a_block():
    assert BlocksConfig(size=2).numbers_in_code(576) == 144
    assert BlocksConfig(size=2).numbers_in_code(1) == 1
    assert config(8, size=2).numbers_in_code(4) == 8
    with pytest.raises(UsageError, match=r"code_width is 9, .* its 2 embeddings, 8; choose 1 to 8, or null for 1"):
        config(9, size=2).numbers_in_code(4)
    with pytest.raises(ThinwireError, match="no token was seen"):
        fit_projection(MATRIX, CROSS[:0], np.zeros(0, dtype=np.int64), config(1))
