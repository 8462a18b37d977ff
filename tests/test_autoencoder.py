import math

import pytest
import torch

from test_codecs import pca, table_and_counts
from thinwire.adapter import Adapter
from thinwire.codecs import AutoencoderCodec, Codec, codec_class
from thinwire.codecs.table_training import drawn_rows, train_to_rebuild
from thinwire.config import AdapterConfig, CodecConfig, ReconstructionConfig
from thinwire.objective import reconstruction_terms, table_mean_square
from thinwire.reader import AdapterReader


def config(width, **settings):
    return CodecConfig(
        kind="autoencoder",
        compress_dim=width,
        autoencoder={"hidden": 16, "steps": 300, "learning_rate": 0.02} | settings,
    )


def fitted(table, counts, width, seed=0, **settings):
    return AutoencoderCodec.fit(table, counts, config(width, **settings), seed)


def test_before_it_is_trained_it_is_pca():
    table, counts = table_and_counts()
    codec, reference = fitted(table, counts, 5, steps=1, learning_rate=1e-12), pca(table, counts, 5)
    coordinates = reference.encode(table)
    torch.testing.assert_close(codec.encode(table), coordinates, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(codec.decode(codec.encode(table)), reference.decode(reference.encode(table)))
    assert codec.figures() == pytest.approx(reference.figures())
    torch.testing.assert_close(codec.spread, reference.linear_decoder()[2].float())


def test_what_it_keeps_of_the_variance_is_worked_out_from_every_token():
    table, counts = table_and_counts()
    codec = fitted(table, counts, 3)
    rows = table.repeat_interleave(counts.long(), 0).double()
    lost = (rows - codec.decode(codec.encode(rows))).square().sum() / (rows - rows.mean(0)).square().sum()
    assert codec.figures() == {"explained_variance": pytest.approx(1 - float(lost), abs=1e-5)}
    assert codec.figures()["explained_variance"] > pca(table, counts, 3).figures()["explained_variance"]


def test_an_adapter_of_its_width_starts_as_its_decoder_and_another_as_the_linear_part():
    table, counts = table_and_counts()
    codec = fitted(table, counts, 3)
    codes, draw = codec.encode(table), torch.Generator().manual_seed(0)
    same, other = (Adapter(codec, AdapterConfig(hidden=hidden), draw) for hidden in (16, 15))
    with torch.no_grad():
        torch.testing.assert_close(same(codes), codec.decode(codes))
        torch.testing.assert_close(other(codes), codes @ codec.decoder_weight.T + codec.decoder_bias)
    assert (same(codes) - other(codes)).abs().max() > 0.1


def test_what_never_varies_among_the_tokens_seen_does_not_blow_up_the_others():
    table, _ = table_and_counts()
    counts = (torch.arange(200) < 6).double()  # six tokens: five axes say all of them
    codec = fitted(table, counts, 8, steps=50)
    assert codec.decode(codec.encode(table)).abs().max() < 100 * table.abs().max()


def error_of_an_adapter(codec, table, counts):
    """What an adapter makes of the codes, as a share of what predicting zero would cost."""
    draw = torch.Generator().manual_seed(0)
    reader = AdapterReader(codec.encode(table), codec, Adapter(codec, AdapterConfig(hidden=32), draw))
    mean_square = table_mean_square(table, counts)
    training = ReconstructionConfig(steps=400, batch_rows=256, learning_rate=0.02)
    batches = drawn_rows(counts, training, table.device, draw)
    train_to_rebuild(reader, table, mean_square, batches, training)
    with torch.no_grad():
        _, error = reconstruction_terms(reader(torch.arange(len(table))), table, counts.float(), mean_square)
    return float(error / counts.sum())


def test_an_adapter_rebuilds_from_learned_codes_what_pca_has_lost():
    # Rows on five sixths of a circle, one number each: PCA keeps a coordinate, which two points share.
    angle = torch.linspace(-5 * math.pi / 6, 5 * math.pi / 6, 200)
    table = torch.stack([angle.cos(), angle.sin()], 1)
    counts = torch.ones(200)
    lost = error_of_an_adapter(pca(table, counts, 1), table, counts)
    assert lost > 0.2
    learned = fitted(table, counts, 1, steps=600, hidden=64, learning_rate=0.01)
    assert error_of_an_adapter(learned, table, counts) < lost / 4


def test_the_same_seed_gives_the_same_codes_another_others_and_saving_loses_nothing(tmp_path):
    table, counts = table_and_counts()
    codec = fitted(table, counts, 4, steps=20)
    assert codec.fingerprint() == fitted(table, counts, 4, steps=20).fingerprint()
    assert codec.fingerprint() != fitted(table, counts, 4, steps=20, seed=1).fingerprint()
    codec.save(tmp_path / "codec.safetensors")
    loaded: Codec = codec_class(config(4)).load(tmp_path / "codec.safetensors")
    assert loaded.fingerprint() == codec.fingerprint()
    assert torch.equal(loaded.encode(table), codec.encode(table))
    assert (codec.code_width, codec.code_bits) == (4, None)


def test_a_code_is_of_its_own_row_alone(monkeypatch):
    table, counts = table_and_counts()
    codec = fitted(table, counts, 4, steps=20)
    whole = codec.encode(table)
    monkeypatch.setattr("thinwire.codecs.autoencoder._BLOCK_ROWS", 7)
    torch.testing.assert_close(codec.encode(table), whole)
    torch.testing.assert_close(codec.encode(table[3:4]), whole[3:4])


def test_whoever_holds_the_codes_needs_no_encoder_and_with_an_adapter_no_decoder():
    table, counts = table_and_counts()
    codec = fitted(table, counts, 4, steps=1)
    # The linear part, the MLP, the spread
    assert codec.num_bytes(with_decoder=True) == 4 * (24 * 4 + 24 + 16 * 4 + 16 + 24 * 16 + 24 + 4)
    assert codec.num_bytes(with_decoder=False) == 4 * 4
