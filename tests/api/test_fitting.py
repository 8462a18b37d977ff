"""Codecs for any embedding matrix."""

import doctest

import numpy as np
import pytest
import torch

from thinwire.api import fit_codec, fitting
from thinwire.codecs.table import CODECS
from thinwire.errors import UsageError

SMALL = {"hidden": 8}
"""Its steps are those that ``auto`` becomes."""
MATRIX = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))


def test_the_example_of_the_docstring_runs():
    results = doctest.testmod(fitting)
    assert results.attempted > 2
    assert results.failed == 0


def test_pca_without_counts_keeps_the_axes_of_the_singular_values():
    codec = fit_codec(MATRIX, ratio=4)
    centred = MATRIX - MATRIX.mean(0)
    _, _, axes = torch.linalg.svd(centred)
    found = codec.decode(codec.encode(MATRIX))
    torch.testing.assert_close(found, MATRIX.mean(0) + centred @ axes[:2].T @ axes[:2], atol=1e-5, rtol=1e-4)


def test_rows_that_never_occur_do_not_count():
    counts = torch.tensor([1] * 20 + [0] * 20)
    codec = fit_codec(MATRIX, counts, compress_dim=3)
    torch.testing.assert_close(codec.encode(MATRIX), fit_codec(MATRIX[:20], compress_dim=3).encode(MATRIX))


def test_a_codec_of_another_kind_takes_its_own_settings(tmp_path):
    codec = fit_codec(MATRIX, kind="quantized_embeddings", quantized_embeddings={"format": "int4"})
    assert codec.encode(MATRIX).shape[0] == 40
    assert codec.code_bits is not None
    codec.save(tmp_path / "codec.safetensors")
    assert (tmp_path / "codec.safetensors").exists()


@pytest.mark.parametrize("kind", CODECS)
def test_each_kind_fits_the_weights_of_an_embedding_layer(kind):
    if kind == "vq":
        pytest.importorskip("vector_quantize_pytorch", reason="needs the extra vq")
    layer = torch.nn.Embedding(300, 16, _weight=torch.randn(300, 16, generator=torch.Generator().manual_seed(0)))
    settings = {"vq": {"vq": {"codebook_size": 16}}, "pca": {"compress_dim": 4}, "autoencoder": {"autoencoder": SMALL}}
    codec = fit_codec(layer.weight, [1] * 300, kind=kind, **settings.get(kind, {}))
    assert codec.decode(codec.encode(layer.weight)).shape == (300, 16)
    for other in (layer.weight[:, :15], layer.weight[:, :1], layer.weight[0]):  # torch would spread the last two
        with pytest.raises(UsageError, match=r"have the shape .*, expected \[N, 16\]: the codec was fitted"):
            codec.encode(other)


@pytest.mark.parametrize(
    ("matrix", "options", "message"),
    [
        (MATRIX, {"kind": "pcaa"}, "'pcaa' is no codec"),
        (MATRIX, {"ration": 2}, "ration"),
        (MATRIX.long(), {}, "two dimensions of floats"),
        (MATRIX, {"counts": torch.ones(3)}, r"\[3\], expected one for each of 40 rows"),
        (MATRIX, {"counts": torch.zeros(40)}, "at least one of them positive"),
        (MATRIX * torch.inf, {}, "NaN or infinity"),
        (MATRIX, {"counts": torch.full((40,), torch.inf)}, "finite numbers"),
        (MATRIX, {"compress_dim": 9}, "compress_dim is 9"),
        (None, {}, "an embedding matrix: a tensor, an array or lists of numbers expected, got None"),
        ([[1.0, 2.0], [3.0]], {}, "lists of numbers expected"),
        (torch.nn.Embedding(4, 2), {}, r"lists of numbers expected, got Embedding\(4, 2\)"),
        (MATRIX.to("meta"), {}, "in a dense tensor expected"),
        (MATRIX.to_sparse(), {}, "in a dense tensor expected"),
        (MATRIX[:0], {}, r"empty: its shape is \[0, 8\]"),
        (MATRIX[:, :0], {}, r"empty: its shape is \[40, 0\]"),
        (MATRIX, {"counts": "pca"}, "counts: .* got 'pca'"),
        (MATRIX, {"counts": torch.ones(40, dtype=torch.complex64)}, "counts: real numbers"),
        (MATRIX, {"ratio": torch.tensor(4)}, r"tensor\(4\) is no value of a setting"),
    ],
)
def test_what_cannot_be_fitted_is_refused(matrix, options, message):
    with pytest.raises(UsageError, match=message):
        fit_codec(matrix, **options)


def test_numbers_of_numpy_are_settings():
    assert fit_codec(MATRIX, ratio=np.float32(4)).encode(MATRIX).shape == (40, 2)
    assert fit_codec(MATRIX, compress_dim=np.int64(3)).encode(MATRIX).shape == (40, 3)
