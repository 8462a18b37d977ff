"""PCA codes rounded to integers: bounds, arithmetic by hand, the error of rounding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.codecs.quantized_pca import QuantizedPCACodec
from thinwire.codecs.table import AnyCodecConfig, codec_class
from thinwire.errors import UsageError
from thinwire.schema import build
from tiny_codecs import matrix_and_counts, metrics

BITS = [16, 8, 4]


def config(bits, width=6, **settings):
    return AnyCodecConfig(kind="quantized_pca", compress_dim=width, quantized_pca={"bits": bits}, **settings)


def fitted(matrix, counts, bits, width=6, **settings):
    chosen = config(bits, width, **settings)
    return codec_class(chosen).fit(matrix, counts, chosen, 0)


def exact(codec, matrix):
    """Return the codes before they are rounded."""
    return (matrix - codec.mean) @ codec.components.T


def test_rounding_by_hand():
    one = torch.eye(2)
    parts = {"mean": torch.zeros(2), "components": one, "variances": torch.ones(2), "total_variance": torch.tensor(2.0)}
    scale, bits, error = torch.tensor([0.5, 2.0]), torch.tensor(4), torch.tensor(0.02)
    codec = QuantizedPCACodec(**parts, scale=scale, bits=bits, rounding_error=error)
    # 1.3 / 0.5 = 2.6 is 3; -9 / 2 = -4.5 is -4 (halves go to the even one); 99 / 0.5 is clamped to 2^3 - 1 = 7.
    codes = codec.encode(torch.tensor([[1.3, -9], [99, 2.9]]))
    assert codes.tolist() == [[3, -4], [7, 1]]
    assert codes.dtype == torch.int8
    assert codec.features(codes).tolist() == [[1.5, -8], [3.5, 2]]
    assert codec.decode(codes).tolist() == [[1.5, -8], [3.5, 2]]
    assert codec.code_bits == 2 * 4
    assert metrics(codec) == {"explained_variance": 1.0, "rounding_error": pytest.approx(0.01)}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), bits=st.sampled_from(BITS), weighting=st.sampled_from(["counts", "uniform"]))
def test_within_its_range_a_number_is_off_by_half_a_step_at_most(seed, bits, weighting):
    matrix, counts = matrix_and_counts(seed=seed)
    codec = fitted(matrix, counts, bits, weighting=weighting)
    codes, before = codec.encode(matrix), exact(codec, matrix)
    assert codes.dtype == (torch.int16 if bits == 16 else torch.int8)
    most = 2 ** (bits - 1) - 1
    assert codes.abs().max() <= most
    inside = before.abs() <= most * codec.scale
    error = (codec.features(codes) - before).abs()
    assert (error <= codec.scale / 2 * (1 + 1e-3) + 1e-6)[inside].all()
    # Values outside the range are clamped to its end of the same sign.
    ends = (most * codec.scale * before.sign())[~inside]
    torch.testing.assert_close(codec.features(codes)[~inside], ends)


def test_more_bits_lose_less_and_sixteen_next_to_nothing():
    matrix, counts = matrix_and_counts()
    costs = [metrics(fitted(matrix, counts, bits))["rounding_error"] for bits in BITS]
    assert costs[0] < 1e-8 < costs[1] < 1e-4 < costs[2] < 0.02


def test_the_rounding_error_is_relative_to_the_variance_of_the_tokens_seen():
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, 4)
    shares = counts / counts.sum()
    error = shares @ (codec.features(codec.encode(matrix)) - exact(codec, matrix)).double().square().sum(1)
    total = shares @ (matrix.double() - shares @ matrix.double()).square().sum(1)
    assert metrics(codec)["rounding_error"] == pytest.approx(float(error / total), rel=1e-4)


def test_one_far_row_does_not_make_the_steps_coarse_for_all_others():
    matrix, counts = matrix_and_counts(rows=2000)
    matrix[0] *= 5
    counts[0] = 1
    codec = fitted(matrix, counts, 4)
    farthest = exact(codec, matrix)[counts > 0].abs().amax(0)
    assert (7 * codec.scale < 0.8 * farthest).any()
    coarse = torch.round(exact(codec, matrix) / (farthest / 7)) * (farthest / 7)
    found = codec.features(codec.encode(matrix))
    shares = counts / counts.sum()
    ours, theirs = (shares @ (x - exact(codec, matrix)).double().square().sum(1) for x in (found, coarse))
    assert ours < 0.8 * theirs


def test_a_dimension_in_which_nothing_varies_is_zero():
    matrix = torch.tensor([[1.0, 0], [-1, 0], [3, 0]])
    codec = fitted(matrix, torch.ones(3), 8, width=2)
    assert codec.encode(matrix)[:, 1].tolist() == [0, 0, 0]
    assert codec.decode(codec.encode(matrix)).isfinite().all()


def test_beside_an_adapter_the_scales_stay():
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, 4)  # 6 of 16 numbers
    width = matrix.shape[1]
    # The std in float64, the scales in float32; the decoder's weight and bias
    assert codec.num_bytes(with_decoder=False) == 6 * 8 + 6 * 4
    assert codec.num_bytes(with_decoder=True) == 6 * 8 + 6 * 4 + 4 * (6 * width + width)


def test_saving_loses_nothing(tmp_path):
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, 4)
    codec.save(tmp_path / "codec.safetensors")
    loaded = QuantizedPCACodec.load(tmp_path / "codec.safetensors", config(4), matrix.shape[1])
    assert torch.equal(loaded.encode(matrix), codec.encode(matrix))
    assert loaded.fingerprint() == codec.fingerprint()


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        ({"quantized_pca": {"bits": 3}}, r"codec\.quantized_pca\.bits: Input should be 16, 8 or 4, got 3"),
        ({"bits": 8}, r"'codec.bits' is now called codec\.quantized_pca\.bits, with codec\.kind=quantized_pca"),
    ],
)
def test_bits_that_cannot_be_and_the_earlier_name_are_refused(codec, message):
    with pytest.raises(UsageError, match=message):
        build(AnyCodecConfig, codec, where="codec")
