"""The embedding matrix with rounded entries: arithmetic by hand, NF4 as bitsandbytes has it, bounds, sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from thinwire.adapter.adapter import Adapter
from thinwire.codecs.quantized_embeddings import QuantizedEmbeddingsCodec, levels_of
from thinwire.codecs.table import AnyCodecConfig, codec_class
from thinwire.config.settings import AdapterConfig
from thinwire.determinism import generator
from thinwire.errors import UsageError
from thinwire.schema import build
from tiny_codecs import matrix_and_counts, metrics

FORMATS = ["int8", "nf4", "int4", "int3", "int2"]
NUM_LEVELS = {"int8": 255, "nf4": 16, "int4": 15, "int3": 7, "int2": 3}
PUBLISHED_NF4 = (  # Dettmers et al. 2023, appendix E
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


def config(form, block_size=8, **changes):
    own = {"format": form, "block_size": block_size}
    return AnyCodecConfig(kind="quantized_embeddings", quantized_embeddings=own, **changes)


def fitted(matrix, counts, form, block_size=8, **changes):
    settings = config(form, block_size, **changes)
    return codec_class(settings).fit(matrix, counts, settings, 0)


def scales_by_hand(matrix, block_size):
    """Return, for each number, the largest absolute value of its block as a float16."""
    blocks = matrix.abs().split(block_size, dim=1)
    return torch.cat([b.amax(1, keepdim=True).expand_as(b) for b in blocks], 1).half().float()


def test_rounding_by_hand():
    # Blocks of 2: (0.5, -1) over 1 and (4, 0.1) over 4; the last one is the short (3) over 3.
    matrix = torch.tensor([[0.5, -1, 4, 0.1, 3]])
    codec = fitted(matrix.repeat(2, 1) * torch.tensor([[1.0], [2]]), torch.ones(2), "int3", block_size=2)
    # Levels are thirds: 0.5 lies between 1/3 (index 4) and 2/3 (5), and the lower one wins; 0.1 / 4 is nearest to 0.
    codes = codec.encode(matrix)
    assert codes.dtype == torch.uint8
    assert codes[0, :5].tolist() == [4, 0, 6, 3, 6]
    assert codes[0, 5:].clone().view(torch.float16).tolist() == [1, 4, 3]
    expected = torch.tensor([[1 / 3, -1, 4, 0, 3]])
    torch.testing.assert_close(codec.decode(codes), expected)
    torch.testing.assert_close(codec.features(codes), expected)
    # 5 indices of 3 bits, and 3 scales of 16
    assert (codec.code_width, codec.code_bits) == (5, 5 * 3 + 3 * 16)


@pytest.mark.parametrize("form", FORMATS)
def test_levels_ascend_from_minus_one_to_one_and_contain_zero(form):
    levels = levels_of(form)
    assert (len(levels), levels.dtype) == (NUM_LEVELS[form], torch.float32)
    assert (levels[0], levels[-1]) == (-1, 1)
    assert (levels.diff() > 0).all()
    assert 0 in levels
    if form != "nf4":
        torch.testing.assert_close(levels, torch.linspace(-1, 1, NUM_LEVELS[form]))
        assert torch.equal(levels, -levels.flip(0))


def test_nf4_has_the_published_levels():
    torch.testing.assert_close(levels_of("nf4"), torch.tensor(PUBLISHED_NF4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("block_size", [64, 128])
def test_nf4_rounds_as_bitsandbytes_does(block_size):
    functional = pytest.importorskip("bitsandbytes.functional")
    draw = torch.Generator().manual_seed(1)
    matrix = torch.randn(50, 256, generator=draw).half().float()  # so that no scale is rounded
    packed, state = functional.quantize_4bit(matrix, blocksize=block_size, quant_type="nf4")
    theirs = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], 1).view(matrix.shape)
    codec = fitted(matrix, torch.ones(50), "nf4", block_size=block_size)
    codes = codec.encode(matrix)
    assert torch.equal(codes[:, :256], theirs)
    assert torch.equal(codes[:, 256:].contiguous().view(torch.float16).float().flatten(), state.absmax)
    torch.testing.assert_close(codec.decode(codes), functional.dequantize_4bit(packed, state), atol=2e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    form=st.sampled_from(FORMATS),
    block_size=st.integers(1, 30),
    size=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_every_number_gets_the_nearest_level_of_its_block(seed, form, block_size, size):
    matrix, counts = matrix_and_counts(rows=40, seed=seed)
    matrix = matrix * size
    rounded = (codec := fitted(matrix, counts, form, block_size)).decode(codec.encode(matrix))
    scales = scales_by_hand(matrix, block_size)
    possible = levels_of(form) * scales[:, :, None]  # [N, D, levels]
    least = (possible - matrix[:, :, None]).abs().amin(2)
    torch.testing.assert_close((rounded - matrix).abs(), least, atol=1e-5 * size, rtol=1e-4)


def test_finer_formats_and_smaller_blocks_lose_less():
    matrix, counts = matrix_and_counts(rows=1000)
    lost = [metrics(fitted(matrix, counts, form))["rounding_error"] for form in FORMATS]
    assert lost == sorted(lost)
    assert lost[0] < 1e-4 < lost[1] < lost[2] < 0.02
    by_block = [metrics(fitted(matrix, counts, "int4", size))["rounding_error"] for size in (1, 4, 24)]
    assert by_block[0] < 1e-6 < by_block[1] < by_block[2]


def test_the_rounding_error_is_relative_to_the_variance_of_the_tokens_seen():
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, "int4")
    shares = counts / counts.sum()
    error = shares @ (codec.decode(codec.encode(matrix)) - matrix).double().square().sum(1)
    total = shares @ (matrix.double() - shares @ matrix.double()).square().sum(1)
    assert metrics(codec)["rounding_error"] == pytest.approx(float(error / total), rel=1e-6)
    expected = (shares @ codec.decode(codec.encode(matrix)).double().square()).sqrt()
    torch.testing.assert_close(codec.std, expected.float())


def test_a_token_that_never_occurs_changes_no_metric_and_weighting_does():
    matrix, counts = matrix_and_counts()
    before = fitted(matrix, counts, "int4")
    changed = torch.where((counts > 0)[:, None], matrix, 7 * matrix)
    assert fitted(changed, counts, "int4").fingerprint() == before.fingerprint()
    assert not torch.equal(fitted(matrix, counts, "int4", weighting="uniform").std, before.std)


def test_magnitude_is_in_the_code():
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, "nf4")
    assert torch.equal(codec.decode(codec.encode(4 * matrix)), 4 * codec.decode(codec.encode(matrix)))


def test_rows_of_zeros_and_of_numbers_below_every_scale_are_zero():
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, "int8")
    tiny = torch.stack([torch.zeros(24), torch.full((24,), 1e-12)])
    assert torch.equal(codec.decode(codec.encode(tiny)), torch.zeros(2, 24))


def test_bfloat16_rows_are_encoded_like_their_float32_values():
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix.bfloat16(), counts, "int8")
    assert torch.equal(codec.encode(matrix.bfloat16()), codec.encode(matrix.bfloat16().float()))


@pytest.mark.parametrize(
    ("form", "bits"), [("int8", 4752), ("nf4", 2448), ("int4", 2448), ("int3", 1872), ("int2", 1296)]
)
def test_bits_count_the_scales(form, bits):
    # 576 numbers in 9 blocks of 64: 144 bits of scales
    codec = fitted(torch.randn(5, 576, generator=torch.Generator().manual_seed(0)), torch.ones(5), form, 64)
    assert (codec.code_width, codec.code_bits) == (576, bits)


def test_decoding_reads_no_value_from_the_device():
    # A value that Python needs cannot be read while a CUDA graph is captured; a fake tensor has none to read.
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, "nf4", block_size=5)
    codes = codec.encode(matrix)
    with FakeTensorMode() as mode:
        fake = QuantizedEmbeddingsCodec(**{name: mode.from_tensor(value) for name, value in codec.state().items()})
        assert fake.decode(mode.from_tensor(codes)).shape == matrix.shape
        with pytest.raises(DataDependentOutputException):
            int(fake.blocks[-1])


def test_a_block_is_at_most_a_row():
    matrix, counts = matrix_and_counts()
    wide, row = (fitted(matrix, counts, "int4", size) for size in (1000, 24))
    assert wide.code_bits == row.code_bits == 24 * 4 + 16
    assert torch.equal(wide.encode(matrix), row.encode(matrix))


def test_beside_the_codes_only_levels_and_an_adapters_std_stay():
    codec = fitted(*matrix_and_counts(), "nf4")
    assert codec.num_bytes(with_decoder=True) == 16 * 4
    assert codec.num_bytes(with_decoder=False) == 16 * 4 + 24 * 4


def test_a_fresh_adapter_returns_the_rounded_rows():
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, "int4")
    codes = codec.encode(matrix)
    adapter = Adapter(codec, AdapterConfig(hidden=8), generator("cpu", 0))
    torch.testing.assert_close(adapter(codec.features(codes)), codec.decode(codes))


def test_a_format_that_loses_most_of_the_variance_is_a_warning():
    matrix, counts = matrix_and_counts()
    assert fitted(matrix, counts, "int8").warnings() == ()
    matrix[:, ::8] = 100.0  # one number in each block far from the others, which then all round to zero
    (warning,) = fitted(matrix, counts, "int2").warnings()
    assert "rounding to 3 levels loses" in warning
    assert "codec.quantized_embeddings.format" in warning


def test_saving_loses_nothing(tmp_path):
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, "nf4", block_size=5)
    codec.save(tmp_path / "codec.safetensors")
    loaded = QuantizedEmbeddingsCodec.load(tmp_path / "codec.safetensors", config("nf4", 5), matrix.shape[1])
    assert torch.equal(loaded.encode(matrix), codec.encode(matrix))
    assert loaded.fingerprint() == codec.fingerprint()


def test_an_entry_too_large_for_a_scale_is_refused():
    matrix, counts = matrix_and_counts()
    matrix[3, 4] = 1e6
    with pytest.raises(UsageError, match=r"scales up to 65,504, but the embedding matrix has an entry of 1e\+06"):
        fitted(matrix, counts, "int8")


def test_an_unknown_format_is_refused_and_the_label_names_the_format():
    with pytest.raises(UsageError, match=r"codec\.quantized_embeddings\.format: Input should be 'int8', 'nf4'.*'fp4'"):
        build(AnyCodecConfig, {"quantized_embeddings": {"format": "fp4"}}, where="codec")
    assert QuantizedEmbeddingsCodec.label(config("nf4")) == "quantised embeddings, nf4"
