"""Vector quantisation: arithmetic and training of the three forms, usage statistics, errors."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from thinwire.codecs.codebook_usage import collisions, entry_use, perplexity
from thinwire.codecs.table import AnyCodecConfig, codec_class
from thinwire.codecs.vq import VQCodec
from thinwire.codecs.vq_training import VQConfig
from thinwire.errors import UsageError
from thinwire.schema import build
from tiny_codecs import matrix_and_counts, metrics

FORMS = ["single", "residual", "product"]


def config(width=8, **vq):
    vq = {
        "steps": 60,
        "codebook_size": 16,
        **({} if vq.get("form") in (None, "single") else {"num_codebooks": 2}),
        **vq,
    }
    return build(AnyCodecConfig, {"kind": "vq", "compress_dim": width, "vq": vq}, where="codec")


def fitted(matrix, counts, seed=0, width=8, **vq):
    chosen = config(width, **vq)
    return codec_class(chosen).fit(matrix, counts, chosen, seed)


def by_hand(codebooks, latents, decoder=None):
    """Make a codec whose encoder is the identity, and by default its decoder too."""
    identity, zeros = torch.eye(latents), torch.zeros(latents)
    weight, bias = decoder or (identity, zeros)
    parts = {"encoder_weight": identity, "encoder_bias": zeros, "decoder_weight": weight, "decoder_bias": bias}
    entries = torch.tensor(codebooks)
    statistics = {"std": zeros, "use": torch.ones(len(entries)), "perplexity": zeros, "collisions": torch.zeros(2)}
    return VQCodec(**parts, codebooks=entries, **statistics)


def squared_error(codec, matrix):
    return float((codec.decode(codec.encode(matrix)) - matrix).square().mean() / matrix.square().mean())


# Arithmetic


def test_product_codes_are_the_nearest_entry_of_each_part():
    codec = by_hand([[[0.0, 0], [1, 1]], [[0, 0], [2, 2]]], 4)
    codes = codec.encode(torch.tensor([[0.9, 1.2, 0.1, 0], [0.2, 0.1, 1.2, 1.1], [3, 3, 0.9, 0.9]]))
    assert codes.tolist() == [[1, 0], [0, 1], [1, 0]]  # 0.9 is nearer to 0 than to 2
    assert codec.features(codes).tolist() == [[1, 1, 0, 0], [0, 0, 2, 2], [1, 1, 0, 0]]
    assert (codec.code_width, codec.code_bits, codes.dtype) == (2, 2, torch.uint8)


def test_residual_codes_quantise_the_residual_of_the_entries_before():
    decoder = (torch.tensor([[2.0]]), torch.tensor([0.5]))
    codec = by_hand([[[0.0], [10]], [[-1], [1]]], 1, decoder)
    codes = codec.encode(torch.tensor([[10.8], [9.5], [-3.0]]))
    # 10.8 = 10 + 0.8, and 0.8 is nearest to 1; 9.5 = 10 - 0.5; -3 = 0 - 3, and nearest to -3 is -1.
    assert codes.tolist() == [[1, 1], [1, 0], [0, 0]]
    assert codec.features(codes).tolist() == [[11], [9], [-1]]
    assert codec.decode(codes).tolist() == [[22.5], [18.5], [-1.5]]


@pytest.mark.parametrize(
    ("size", "dtype", "bits"), [(256, torch.uint8, 8), (257, torch.int16, 9), (40_000, torch.int32, 16)]
)
def test_codes_are_held_in_the_smallest_type_and_counted_in_whole_bits(size, dtype, bits):
    codec = by_hand([[[0.0]] * (size - 1) + [[9.0]]], 1)
    codes = codec.encode(torch.tensor([[8.0], [1.0]]))
    assert codes.tolist() == [[size - 1], [0]]
    assert (codes.dtype, codec.code_bits) == (dtype, bits)
    assert codec.features(codes).tolist() == [[9], [0]]


def test_use_perplexity_and_collisions_by_hand():
    codes = torch.tensor([[0, 1], [0, 1], [0, 2], [3, 2]])
    weights = torch.tensor([1.0, 1, 2, 4])
    assert entry_use(codes, 4).tolist() == [2 / 4, 2 / 4]
    # Both codebooks have half the weight on either of two entries: 4 and 4, 2 and 6.
    first, second = perplexity(codes, weights, 4).tolist()
    assert first == pytest.approx(2.0)
    assert second == pytest.approx(math.exp(-(1 / 4 * math.log(1 / 4) + 3 / 4 * math.log(3 / 4))))
    # The first two rows are one code: two of four rows, 2 of 8 tokens.
    assert collisions(codes, weights).tolist() == [0.5, 0.25]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=40), st.integers(1, 5))
def test_perplexity_is_between_one_and_the_entries_in_use(entries, weight):
    codes = torch.tensor(entries)[:, None]
    (found,) = perplexity(codes, torch.full((len(codes),), float(weight)), 8).tolist()
    assert 1 - 1e-9 <= found <= len(set(entries)) + 1e-9
    assert entry_use(codes, 8).tolist() == [len(set(entries)) / 8]
    alone = sum(entries.count(entry) == 1 for entry in entries)
    assert collisions(codes, torch.ones(len(codes)))[0] == pytest.approx(1 - alone / len(entries))


# Training


@pytest.mark.parametrize("form", FORMS)
def test_a_matrix_of_few_distinct_rows_is_rebuilt_and_its_rows_are_told_apart(form):
    distinct = torch.randn(6, 16, generator=torch.Generator().manual_seed(3))
    matrix = distinct.repeat(8, 1)
    codec = fitted(matrix, torch.ones(48), form=form, codebook_size=8, steps=200, learning_rate=1e-4)
    codes = codec.encode(matrix)
    assert torch.equal(codes, codes[:6].repeat(8, 1))
    assert len(codes[:6].unique(dim=0)) == 6
    assert squared_error(codec, matrix) < 0.003
    assert metrics(codec)["collisions"] == 1  # each row occurs eight times


def test_several_codebooks_rebuild_more_than_one_of_the_same_size():
    matrix, counts = matrix_and_counts()
    single, residual, product = (squared_error(fitted(matrix, counts, form=form), matrix) for form in FORMS)
    assert residual < 0.9 * single
    assert product < 0.9 * single


def test_unused_entries_are_reset_after_a_bad_initialisation():
    matrix, counts = matrix_and_counts()
    # The random vectors are much smaller than the latents, so all rows are assigned to the outermost ones.
    bad = fitted(matrix, counts, width=2, kmeans_iterations=0, dead_below=0, codebook_size=64)
    revived = fitted(matrix, counts, width=2, kmeans_iterations=0, codebook_size=64)
    assert metrics(bad)["codebook_use"] < 0.5 < metrics(revived)["codebook_use"]
    assert revived.warnings() == ()
    (warning,) = bad.warnings()
    used = f"{metrics(bad)['codebook_use']:.0%}"
    assert warning.startswith(f"1 of 1 codebooks have less than 50% of their entries in use (codebook 1: {used} of 64)")


@pytest.mark.parametrize("form", FORMS)
def test_the_same_seed_gives_the_same_codes_and_the_global_stream_stays_where_it_was(form):
    matrix, counts = matrix_and_counts()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = fitted(matrix, counts, form=form), fitted(matrix, counts, form=form)
    assert torch.equal(torch.get_rng_state(), before)
    assert one.fingerprint() == two.fingerprint()
    assert torch.equal(one.encode(matrix), two.encode(matrix))
    assert one.fingerprint() != fitted(matrix, counts, form=form, seed=1).fingerprint()


def test_metrics_count_only_the_tokens_seen():
    matrix, counts = matrix_and_counts()
    counts[50:] = 0
    codec = fitted(matrix, counts)
    seen = counts.nonzero()[:, 0]
    codes = codec.encode(matrix)[seen]
    found = metrics(codec)
    assert found["codebook_use"] == len(codes.unique()) / 16
    assert found["perplexity_maximum"] == 16
    assert found["collisions_weighted"] == pytest.approx(float(collisions(codes, counts[seen])[1]))
    squares = (counts[seen] / counts[seen].sum()) @ codec.features(codes).double().square()
    torch.testing.assert_close(codec.std, squares.sqrt().float())


def test_beside_an_adapter_the_codebooks_stay():
    codec = by_hand([[[0.0, 0], [1, 1]], [[0, 0], [2, 2]]], 4)
    beside = 4 * 2 * 2 * 2 + codec.std.numel() * 4
    assert codec.num_bytes(with_decoder=False) == beside
    decoder = 4 * (codec.decoder_weight.numel() + codec.decoder_bias.numel())
    assert codec.num_bytes(with_decoder=True) == beside + decoder


@pytest.mark.slow
def test_a_fitted_codec_does_not_need_the_library(tmp_path):
    matrix, counts = matrix_and_counts()
    codec = fitted(matrix, counts, form="residual")
    codec.save(tmp_path / "codec.safetensors")
    codes = codec.encode(matrix)
    expected = {"matrix": matrix, "codes": codes, "features": codec.features(codes), "decoded": codec.decode(codes)}
    save_file(expected, tmp_path / "expected.safetensors")
    code = f"""
import sys
sys.modules["vector_quantize_pytorch"] = None  # importing it would raise
from pathlib import Path
import torch
from safetensors.torch import load_file
from thinwire.codecs.table import AnyCodecConfig
from thinwire.codecs.vq import VQCodec
folder = Path({str(tmp_path)!r})
config = AnyCodecConfig.model_validate_json({config(form="residual").model_dump_json()!r})
codec = VQCodec.load(folder / "codec.safetensors", config, {matrix.shape[1]})
expected = load_file(folder / "expected.safetensors")
codes = codec.encode(expected["matrix"])
assert torch.equal(codes, expected["codes"]) and codes.dtype == torch.uint8
assert torch.equal(codec.features(codes), expected["features"])
assert torch.equal(codec.decode(codes), expected["decoded"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


# Refusals


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package vector-quantize-pytorch: pip install 'thinwire\[vq\]'"):
        fitted(*matrix_and_counts())


@pytest.mark.parametrize(
    ("vq", "message"),
    [
        ({"form": "tree"}, r"codec\.vq\.form: Input should be 'single', 'residual' or 'product', got 'tree'"),
        ({"codebook_size": 1}, r"codec\.vq\.codebook_size: Input should be greater than or equal to 2, got 1"),
        ({"num_codebooks": 4}, "form is single, which has 1 codebook, and num_codebooks is 4; choose form residual"),
        ({"form": "product", "num_codebooks": 3}, "num_codebooks is 3, but .* 8 latent .* choose one of 1, 2, 4, 8,"),
        ({"codebook_size": 201}, "codebook_size is 201, but .* only 200 rows; choose 2 to 200"),
    ],
)
def test_settings_that_cannot_be_fitted_are_refused_with_valid_ones(vq, message):
    with pytest.raises(UsageError, match=message):
        fitted(*matrix_and_counts(), **vq)


def test_several_codebooks_are_eight_unless_another_number_is_given():
    assert [VQConfig(form=form).resolved_codebooks for form in FORMS] == [1, 8, 8]
    assert VQConfig(form="residual", num_codebooks=3).resolved_codebooks == 3
