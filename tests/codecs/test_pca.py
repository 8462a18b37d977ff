import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from thinwire.adapter.adapter import Adapter
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.table import AnyCodecConfig, codec_class
from thinwire.config.settings import AdapterConfig
from thinwire.errors import ThinwireError, UsageError
from tiny_codecs import matrix_and_counts, metrics, pca


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), width=st.integers(1, 23))
def test_pca_agrees_with_scikit_learns_full_svd_on_the_expanded_token_matrix(seed, width):
    matrix, counts = matrix_and_counts(seed=seed)
    codec = pca(matrix, counts, width)
    tokens = np.repeat(matrix.double().numpy(), counts.long().numpy(), axis=0)
    reference = PCA(n_components=width, svd_solver="full").fit(tokens)
    # scikit-learn divides by N - 1, the population's covariance by N.
    expected = reference.explained_variance_ * (len(tokens) - 1) / len(tokens)
    np.testing.assert_allclose(codec.variances.numpy(), expected, rtol=1e-6)
    assert metrics(codec)["explained_variance"] == pytest.approx(reference.explained_variance_ratio_.sum(), abs=1e-6)
    # Subspaces are equal if their projections are, whatever the signs of the axes.
    ours = codec.components.double().numpy()
    difference = ours.T @ ours - reference.components_.T @ reference.components_
    assert np.linalg.norm(difference, 2) < 1e-6 * max(1, 1 / _gap(reference, tokens, width))
    centred = tokens - tokens.mean(0)
    ours_variance = np.square(centred @ ours.T).mean()
    assert ours_variance == pytest.approx(np.square(centred @ reference.components_.T).mean(), rel=1e-6)


def _gap(reference, tokens, width):
    """Return the relative gap after the last kept eigenvalue, which limits the subspace's accuracy."""
    values = np.linalg.eigvalsh(np.cov(tokens.T))[::-1]
    return (values[width - 1] - values[width]) / values[0]


def test_a_token_that_was_never_seen_has_no_influence():
    matrix, counts = matrix_and_counts()
    counts[7] = 0
    far = matrix.clone()
    far[7] = 1e4  # a pad row, say
    assert torch.equal(pca(matrix, counts, 5).components, pca(far, counts, 5).components)


def test_explained_variance_is_over_all_axes_not_over_the_kept_ones():
    # Variances 4 and 1 along two axes: one axis explains 4 / 5, not 1.
    matrix = torch.tensor([[2.0, 0], [-2, 0], [0, 1], [0, -1]])
    assert metrics(pca(matrix, torch.ones(4), 1)) == {"explained_variance": pytest.approx(0.8)}


def test_all_axes_reconstruct_exactly_and_fewer_do_not():
    matrix, counts = matrix_and_counts()
    whole, part = pca(matrix, counts, 24), pca(matrix, counts, 6)
    torch.testing.assert_close(whole.decode(whole.encode(matrix)), matrix, atol=1e-4, rtol=1e-4)
    assert (part.decode(part.encode(matrix)) - matrix).abs().max() > 0.1


def test_a_code_carries_the_magnitude():
    # Decoding gets only the code: doubling the embedding must double the result (about the mean).
    matrix, counts = matrix_and_counts()
    codec = pca(matrix - matrix.mean(0), counts, 24)
    once = codec.decode(codec.encode(matrix)) - codec.mean
    twice = codec.decode(codec.encode(2 * matrix)) - codec.mean
    assert twice.norm() / once.norm() == pytest.approx(2.0, rel=0.05)


def test_fitting_twice_gives_the_same_signs_and_saving_loses_nothing(tmp_path):
    matrix, counts = matrix_and_counts()
    codec = pca(matrix, counts, 5)
    assert torch.equal(codec.components, pca(matrix, counts, 5).components)
    codec.save(tmp_path / "codec.safetensors")
    loaded = PCACodec.load(tmp_path / "codec.safetensors", CodecConfig(compress_dim=5), 24)
    assert all(torch.equal(loaded.state()[name], tensor) for name, tensor in codec.state().items())


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(0, 30), min_size=12, max_size=12).filter(any))
def test_weighting_is_that_of_counts_of_their_roots_or_of_every_row_alike(counts):
    matrix, _ = matrix_and_counts(rows=12, width=6)
    counts = torch.tensor(counts).double()
    # Each equals weighting by counts of a corpus with these numbers of occurrences.
    for weighting, equal in (("counts", counts), ("sqrt", counts.sqrt()), ("uniform", torch.ones(12))):
        weighed, expected = pca(matrix, counts, 3, weighting=weighting), pca(matrix, equal, 3)
        assert all(torch.equal(weighed.state()[name], tensor) for name, tensor in expected.state().items())


def test_sqrt_weighting_by_hand():
    # Counts 16 and 1 at 0 and 10: roots 4 and 1, so a mean of 10 / 5 = 2 and a variance of (4 x 4 + 64) / 5 = 16.
    codec = pca(torch.tensor([[0.0], [10.0]]), torch.tensor([16.0, 1]), 1, weighting="sqrt")
    assert codec.mean.tolist() == [2]
    assert codec.variances.tolist() == pytest.approx([16])


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        {"kind": "pca", "compress_dim": 4},
        {"kind": "autoencoder", "compress_dim": 4, "autoencoder": {"hidden": 16, "steps": 200, "learning_rate": 0.02}},
        # All axes: the initial PCA then keeps every row exactly, and only the training rows make a difference.
        {"kind": "vq", "compress_dim": 24, "vq": {"steps": 100, "codebook_size": 16}},
    ],
    ids=lambda kind: kind["kind"],
)
def test_rows_that_weigh_more_are_rebuilt_better_by_every_codec(kind):
    matrix, _ = matrix_and_counts()
    counts = torch.where(torch.arange(200) < 100, 1000.0, 1.0).double()

    def error_of_the_rare(weighting):
        config = AnyCodecConfig(weighting=weighting, **kind)
        codec = codec_class(config).fit(matrix, counts, config, 0)
        return float((codec.decode(codec.encode(matrix)) - matrix)[100:].square().mean())

    assert error_of_the_rare("uniform") < 0.95 * error_of_the_rare("sqrt")
    assert error_of_the_rare("sqrt") < 0.99 * error_of_the_rare("counts")


def test_the_features_of_a_float_code_are_the_code():
    matrix, counts = matrix_and_counts()
    codec = pca(matrix, counts, 5)
    codes = codec.encode(matrix)
    assert codec.features(codes) is codes
    assert (codec.code_width, codec.code_bits) == (5, None)


def test_no_token_seen_is_an_error_and_so_is_an_unknown_codec():
    with pytest.raises(ThinwireError, match="no token was seen"):
        pca(torch.eye(3), torch.zeros(3), 1)
    with pytest.raises(UsageError, match=r"'pcaa' is no codec; there are: pca"):
        codec_class(CodecConfig(kind="pcaa"))


def test_tokens_that_few_training_tokens_do_not_span_stay_small_in_an_adapter():
    draw = torch.Generator().manual_seed(0)
    matrix = torch.randn(200, 16, generator=draw)
    counts = torch.zeros(200)
    counts[:5] = 10  # they span 4 dimensions, and codes have 8
    codec = PCACodec.fit(matrix, counts, CodecConfig(compress_dim=8), 0)
    (warning,) = codec.warnings()
    assert warning.startswith("the training prompts' tokens span 4 dimensions, and a code has 8")
    adapter = Adapter(codec, AdapterConfig(hidden=32), draw)
    with torch.no_grad():
        adapter.output.weight.normal_(0, 0.01, generator=draw)  # as after some training
        rebuilt = adapter(codec.features(codec.encode(matrix)))
    assert rebuilt.norm(dim=1).max() < 3 * matrix.norm(dim=1).max()


def test_tokens_that_span_the_code_give_no_warning():
    matrix = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    assert PCACodec.fit(matrix, torch.ones(200), CodecConfig(compress_dim=8), 0).warnings() == ()
