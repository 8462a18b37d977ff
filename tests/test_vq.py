"""Vector quantisation: what the three forms rebuild, how their use is counted, and what they refuse."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from test_codecs import table_and_counts
from thinwire.codecs import VQCodec, codec_class
from thinwire.codecs import vq_training as training_module
from thinwire.codecs.usage import collisions, entry_use, perplexity
from thinwire.codecs.vq_training import resolve_vq_steps
from thinwire.config import CodecConfig, VQConfig, build
from thinwire.errors import UsageError

FORMS = ["single", "residual", "product"]


def fitted(table, counts, seed=0, width=8, **vq):
    vq = {
        "steps": 60,
        "codebook_size": 16,
        **({} if vq.get("form") in (None, "single") else {"num_codebooks": 2}),
        **vq,
    }
    config = build(CodecConfig, {"kind": "vq", "compress_dim": width, "vq": vq}, where="codec")
    return codec_class(config).fit(table, counts, config, seed)


def by_hand(codebooks, latents, decoder=None):
    """A codec whose encoder leaves embeddings as they are, and by default its decoder too."""
    one, none = torch.eye(latents), torch.zeros(latents)
    weight, bias = decoder or (one, none)
    parts = {"encoder_weight": one, "encoder_bias": none, "decoder_weight": weight, "decoder_bias": bias}
    books = torch.tensor(codebooks)
    nothing = {"spread": none, "use": torch.ones(len(books)), "perplexity": none, "collisions": torch.zeros(2)}
    return VQCodec(**parts, codebooks=books, **nothing)


def squared_error(codec, table):
    return float((codec.decode(codec.encode(table)) - table).square().mean() / table.square().mean())


# Arithmetic


def test_product_codes_are_the_nearest_entry_of_each_part():
    codec = by_hand([[[0.0, 0], [1, 1]], [[0, 0], [2, 2]]], 4)
    codes = codec.encode(torch.tensor([[0.9, 1.2, 0.1, 0], [0.2, 0.1, 1.2, 1.1], [3, 3, 0.9, 0.9]]))
    assert codes.tolist() == [[1, 0], [0, 1], [1, 0]]  # 0.9 is nearer to 0 than to 2
    assert codec.features(codes).tolist() == [[1, 1, 0, 0], [0, 0, 2, 2], [1, 1, 0, 0]]
    assert (codec.code_width, codec.code_bits, codes.dtype) == (2, 2, torch.uint8)


def test_residual_codes_take_what_the_entries_before_left_over():
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
def test_a_table_of_few_distinct_rows_is_rebuilt_and_its_rows_are_told_apart(form):
    distinct = torch.randn(6, 16, generator=torch.Generator().manual_seed(3))
    table = distinct.repeat(8, 1)
    codec = fitted(table, torch.ones(48), form=form, codebook_size=8, steps=200, learning_rate=1e-4)
    codes = codec.encode(table)
    assert torch.equal(codes, codes[:6].repeat(8, 1))
    assert len(codes[:6].unique(dim=0)) == 6
    assert squared_error(codec, table) < 0.003
    assert codec.figures()["collisions"] == 1  # each row is there eight times


def test_several_codebooks_rebuild_more_than_one_of_the_same_size():
    table, counts = table_and_counts()
    single, residual, product = (squared_error(fitted(table, counts, form=form), table) for form in FORMS)
    assert residual < 0.9 * single
    assert product < 0.9 * single


def test_dead_entries_start_again_where_a_bad_start_would_leave_them_idle():
    table, counts = table_and_counts()
    # The random vectors are much smaller than the latents: the outermost of them take every row.
    bad = fitted(table, counts, width=2, kmeans_iterations=0, dead_below=0, codebook_size=64)
    revived = fitted(table, counts, width=2, kmeans_iterations=0, codebook_size=64)
    assert bad.figures()["codebook_use"] < 0.5 < revived.figures()["codebook_use"]
    assert revived.alarms() == []
    (alarm,) = bad.alarms()
    used = f"{bad.figures()['codebook_use']:.0%}"
    assert alarm.startswith(f"1 of 1 codebooks have less than 50% of their entries in use (codebook 1: {used} of 64)")


@pytest.mark.parametrize("form", FORMS)
def test_the_same_seed_gives_the_same_codes_and_the_global_stream_stays_where_it_was(form):
    table, counts = table_and_counts()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = fitted(table, counts, form=form), fitted(table, counts, form=form)
    assert torch.equal(torch.get_rng_state(), before)
    assert one.fingerprint() == two.fingerprint()
    assert torch.equal(one.encode(table), two.encode(table))
    assert one.fingerprint() != fitted(table, counts, form=form, seed=1).fingerprint()


def test_figures_count_the_tokens_seen_and_no_others():
    table, counts = table_and_counts()
    counts[50:] = 0
    codec = fitted(table, counts)
    seen = counts.nonzero()[:, 0]
    codes = codec.encode(table)[seen]
    figures = codec.figures()
    assert figures["codebook_use"] == len(codes.unique()) / 16
    assert figures["perplexity_maximum"] == 16
    assert figures["collisions_weighted"] == pytest.approx(float(collisions(codes, counts[seen])[1]))
    squares = (counts[seen] / counts[seen].sum()) @ codec.features(codes).double().square()
    torch.testing.assert_close(codec.spread, squares.sqrt().float())


def test_beside_an_adapter_the_codebooks_stay():
    codec = by_hand([[[0.0, 0], [1, 1]], [[0, 0], [2, 2]]], 4)
    beside = 4 * 2 * 2 * 2 + codec.spread.numel() * 4
    assert codec.num_bytes(with_decoder=False) == beside
    decoder = 4 * (codec.decoder_weight.numel() + codec.decoder_bias.numel())
    assert codec.num_bytes(with_decoder=True) == beside + decoder


def test_a_fitted_codec_needs_the_library_no_more(tmp_path):
    table, counts = table_and_counts()
    codec = fitted(table, counts, form="residual")
    codec.save(tmp_path / "codec.safetensors")
    codes = codec.encode(table)
    expected = {"table": table, "codes": codes, "features": codec.features(codes), "decoded": codec.decode(codes)}
    save_file(expected, tmp_path / "expected.safetensors")
    code = f"""
import sys
sys.modules["vector_quantize_pytorch"] = None  # importing it would raise
from pathlib import Path
import torch
from safetensors.torch import load_file
from thinwire.codecs import VQCodec
folder = Path({str(tmp_path)!r})
codec, expected = VQCodec.load(folder / "codec.safetensors"), load_file(folder / "expected.safetensors")
codes = codec.encode(expected["table"])
assert torch.equal(codes, expected["codes"]) and codes.dtype == torch.uint8
assert torch.equal(codec.features(codes), expected["features"])
assert torch.equal(codec.decode(codes), expected["decoded"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


# Refusals


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(training_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package vector-quantize-pytorch: pip install 'thinwire\[vq\]'"):
        fitted(*table_and_counts())


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
def test_what_cannot_be_fitted_is_refused_with_what_would_do(vq, message):
    with pytest.raises(UsageError, match=message):
        fitted(*table_and_counts(), **vq)


def test_auto_is_a_quarter_of_the_steps_on_a_cpu():
    steps = [resolve_vq_steps(VQConfig(), torch.device(device)) for device in ("cpu", "cuda")]
    assert steps[1] == 4 * steps[0]
    assert resolve_vq_steps(VQConfig(steps=7), torch.device("cuda")) == 7


def test_several_codebooks_are_eight_unless_another_number_is_given():
    assert [VQConfig(form=form).resolved_codebooks for form in FORMS] == [1, 8, 8]
    assert VQConfig(form="residual", num_codebooks=3).resolved_codebooks == 3
