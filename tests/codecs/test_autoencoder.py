import math

import pytest
import torch

from thinwire.adapter.adapter import Adapter
from thinwire.adapter.input_embeddings import AdapterEmbeddings
from thinwire.codecs.autoencoder import AutoencoderCodec
from thinwire.codecs.base import Codec
from thinwire.codecs.reconstruction_loss import matrix_mean_square, reconstruction_terms
from thinwire.codecs.row_training import drawn_rows, train_to_rebuild
from thinwire.codecs.settings import RowTrainingConfig
from thinwire.codecs.table import AnyCodecConfig, codec_class
from thinwire.config.settings import AdapterConfig
from tiny_codecs import matrix_and_counts, metrics, pca


def config(width, **settings):
    return AnyCodecConfig(
        kind="autoencoder",
        compress_dim=width,
        autoencoder={"hidden": 16, "steps": 300, "learning_rate": 0.02} | settings,
    )


def fitted(matrix, counts, width, seed=0, **settings):
    return AutoencoderCodec.fit(matrix, counts, config(width, **settings), seed)


def test_an_untrained_autoencoder_equals_pca():
    matrix, counts = matrix_and_counts()
    codec, reference = fitted(matrix, counts, 5, steps=1, learning_rate=1e-12), pca(matrix, counts, 5)
    coordinates = reference.encode(matrix)
    torch.testing.assert_close(codec.encode(matrix), coordinates, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(codec.decode(codec.encode(matrix)), reference.decode(reference.encode(matrix)))
    assert metrics(codec) == pytest.approx(metrics(reference))
    torch.testing.assert_close(codec.std, reference.linear_decoder()[2].float())


def test_the_explained_variance_is_that_over_every_token():
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, 3)
    rows = matrix.repeat_interleave(counts.long(), 0).double()
    lost = (rows - codec.decode(codec.encode(rows))).square().sum() / (rows - rows.mean(0)).square().sum()
    assert metrics(codec) == {"explained_variance": pytest.approx(1 - float(lost), abs=1e-5)}
    assert metrics(codec)["explained_variance"] > metrics(pca(matrix, counts, 3))["explained_variance"]


def test_an_adapter_of_its_width_starts_as_its_decoder_and_another_as_the_linear_part():
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, 3)
    codes, draw = codec.encode(matrix), torch.Generator().manual_seed(0)
    same, other = (Adapter(codec, AdapterConfig(hidden=hidden), draw) for hidden in (16, 15))
    with torch.no_grad():
        torch.testing.assert_close(same(codes), codec.decode(codes))
        torch.testing.assert_close(other(codes), codes @ codec.decoder_weight.T + codec.decoder_bias)
    assert (same(codes) - other(codes)).abs().max() > 0.1


def test_a_dimension_without_variance_among_the_tokens_seen_does_not_inflate_the_others():
    matrix, _ = matrix_and_counts()
    counts = (torch.arange(200) < 6).double()  # six tokens span five axes
    codec = fitted(matrix, counts, 8, steps=50)
    assert codec.decode(codec.encode(matrix)).abs().max() < 100 * matrix.abs().max()


def error_of_an_adapter(codec, matrix, counts):
    """Train an adapter on the codes; return its error relative to that of predicting zero."""
    draw = torch.Generator().manual_seed(0)
    inputs = AdapterEmbeddings(codec.encode(matrix), codec, Adapter(codec, AdapterConfig(hidden=32), draw))
    mean_square = matrix_mean_square(matrix, counts)
    training = RowTrainingConfig(steps=400, batch_rows=256, learning_rate=0.02)
    batches = drawn_rows(counts, training, matrix.device, draw)
    train_to_rebuild(inputs, matrix, mean_square, batches, training)
    with torch.no_grad():
        _, error = reconstruction_terms(inputs(torch.arange(len(matrix))), matrix, counts.float(), mean_square)
    return float(error / counts.sum())


@pytest.mark.slow
def test_an_adapter_rebuilds_more_from_learned_codes_than_from_pca():
    # Rows on five sixths of a circle, codes of one number: PCA keeps a coordinate that two points share.
    angle = torch.linspace(-5 * math.pi / 6, 5 * math.pi / 6, 200)
    matrix = torch.stack([angle.cos(), angle.sin()], 1)
    counts = torch.ones(200)
    lost = error_of_an_adapter(pca(matrix, counts, 1), matrix, counts)
    assert lost > 0.2
    learned = fitted(matrix, counts, 1, steps=600, hidden=64, learning_rate=0.01)
    assert error_of_an_adapter(learned, matrix, counts) < lost / 4


def test_the_same_seed_gives_the_same_codes_another_others_and_saving_loses_nothing(tmp_path):
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, 4, steps=20)
    assert codec.fingerprint() == fitted(matrix, counts, 4, steps=20).fingerprint()
    assert codec.fingerprint() != fitted(matrix, counts, 4, steps=20, seed=1).fingerprint()
    codec.save(tmp_path / "codec.safetensors")
    loaded: Codec = codec_class(config(4)).load(tmp_path / "codec.safetensors", config(4), matrix.shape[1])
    assert loaded.fingerprint() == codec.fingerprint()
    assert torch.equal(loaded.encode(matrix), codec.encode(matrix))
    assert (codec.code_width, codec.code_bits) == (4, None)


def test_a_code_depends_only_on_its_own_row():
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, 4, steps=20)
    whole = codec.encode(matrix)
    torch.testing.assert_close(codec.encode(matrix[3:4]), whole[3:4])
    many = matrix.repeat(50, 1)  # 10,000 rows, more than are encoded at once
    torch.testing.assert_close(codec.encode(many), whole.repeat(50, 1))


def test_the_size_counts_no_encoder_and_beside_an_adapter_no_decoder():
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, 4, steps=1)
    # The linear part, the MLP, the std
    assert codec.num_bytes(with_decoder=True) == 4 * (24 * 4 + 24 + 16 * 4 + 16 + 24 * 16 + 24 + 4)
    assert codec.num_bytes(with_decoder=False) == 4 * 4
