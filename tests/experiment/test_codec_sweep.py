"""A sweep of the tiny model with other codecs: trained, recorded, loaded again."""

import re
import shutil

import pytest
import torch

from thinwire.checkpoints.load import find_arm, load_arm
from thinwire.codecs.vq import VQCodec
from thinwire.errors import UsageError
from thinwire.experiment.sweep import run_sweep
from thinwire.model.loading import load
from thinwire.results.arm_record import read_arm_record
from tiny_sweeps import experiment

LORA = {"lora": {"rank": 2, "alpha": 4, "layers": 1}}


def vq(**settings):
    return {"kind": "vq", "vq": {"codebook_size": 16, "steps": 20, **settings}}


def quantized_embeddings(**settings):
    return {"kind": "quantized_embeddings", "quantized_embeddings": settings}


ARMS = {
    "baseline": {},
    "single": {"codec": vq(), **LORA},
    "residual": {"codec": vq(form="residual", num_codebooks=3), **LORA},
    "product": {"codec": vq(form="product", num_codebooks=4), **LORA},
    "learned": {"codec": {"kind": "autoencoder", "autoencoder": {"hidden": 8, "steps": 20}}, **LORA},
    "int8": {"codec": {"kind": "quantized_pca", "quantized_pca": {"bits": 8}}, **LORA},
    "int4": {"codec": {"kind": "quantized_pca", "quantized_pca": {"bits": 4}}, **LORA},
    "rows_nf4": {"codec": quantized_embeddings(format="nf4", block_size=8), **LORA},
    "rows_int8": {"input": "codec", "codec": quantized_embeddings(), **LORA},
    # Two thirds of these entries get no token: the prompts contain some 60 different bytes.
    "idle": {"codec": vq(codebook_size=200)},
}
CONTROLS = {"codes_only": {"input": "codec", "codec": vq()}}
CODES = {  # numbers, bits and type of a code
    "baseline": (8, None, torch.float32),
    "single": (1, 4, torch.uint8),
    "residual": (3, 12, torch.uint8),
    "product": (4, 16, torch.uint8),
    "learned": (8, None, torch.float32),
    "int8": (8, 64, torch.int8),
    "int4": (8, 32, torch.int8),
    "rows_nf4": (32, 32 * 4 + 4 * 16, torch.uint8),
    "rows_int8": (32, 32 * 8 + 16, torch.uint8),
    "controls/codes_only": (1, 4, torch.uint8),
}


@pytest.fixture(scope="module")
def run(folder):
    run_sweep(experiment(folder, arms=ARMS, controls=CONTROLS), folder / "run", controls="all")
    return folder / "run"


def record_of(run, name):
    return read_arm_record(run / name)


def metrics(record):
    return {metric.name: metric.value for metric in record.done.codec.metrics}


@pytest.mark.parametrize("name", CODES)
def test_every_codec_is_trained_on_and_recorded(run, name):
    record = record_of(run, name)
    assert record.status == "done"
    width, bits, _ = CODES[name]
    assert (record.done.codec.code_width, record.done.codec.code_bits) == (width, bits)
    assert record.done.codec.warnings == ()
    if name in ARMS:
        assert record.done.training.num_steps == 4
        has_adapter = record.config["input"] == "adapter"
        assert (record.done.trainable_parameters.adapter > 0) == has_adapter
        # Training has changed the adapter.
        assert (record.done.reconstruction != record.done.reconstruction_at_start) == has_adapter


@pytest.mark.parametrize("name", CODES)
def test_a_loaded_arm_has_the_codes_of_its_kind_and_rebuilds_the_matrix(run, name):
    arm = find_arm(run / name, device="cpu")
    _, inputs = load_arm(arm)
    bytes_of_scales = {"rows_nf4": 4 * 2, "rows_int8": 2}.get(name, 0)  # behind the numbers
    assert (inputs.source.shape, inputs.source.dtype) == ((261, CODES[name][0] + bytes_of_scales), CODES[name][2])
    lm = load(arm.model)
    matrix = inputs.matrix(torch.float32)
    error = (matrix - lm.embedding_matrix).square().mean() / lm.embedding_matrix.square().mean()
    assert 0 < error < 1  # 1 is the error of predicting zero


def test_equal_settings_share_one_codec_and_others_do_not(run):
    files = {name: record_of(run, name).done.codec.file for name in CODES}
    assert files["single"] == files["controls/codes_only"]
    assert len(set(files.values())) == len(CODES) - 1


def test_a_codec_that_cannot_be_fitted_is_refused_before_the_sweep_begins(folder, tmp_path):
    arms = {"baseline": {}, "too_many": {"codec": vq(codebook_size=300)}}
    message = "too_many would fail: codec.vq.codebook_size is 300, but the embedding matrix has only 261 rows"
    with pytest.raises(UsageError, match=message):
        run_sweep(experiment(folder, arms=arms, controls={}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_idle_entries_are_a_warning_in_the_record_and_the_log(run):
    record = record_of(run, "idle")
    (warning,) = record.done.codec.warnings
    assert metrics(record)["codebook_use"] < 0.5
    assert "1 of 1 codebooks have less than 50% of their entries in use" in warning
    (log,) = (run / "idle").glob("training_*.log")
    assert f"WARNING codec vq: {warning}" in log.read_text()


@pytest.mark.parametrize("file", ["sweep_summary.txt", "report.md", "report.html"])
def test_every_report_of_the_sweep_shows_the_warning(run, file):
    (warning,) = record_of(run, "idle").done.codec.warnings
    text = " ".join((run / file).read_text(encoding="utf-8").split())
    assert f"codec vq, single of idle: {warning}" in text


def test_the_page_has_a_row_for_each_codec(run):
    page = (run / "report.html").read_text(encoding="utf-8")
    table = page.split('aria-label="Metrics of the codecs"><thead>')[1].split("</table>")[0]
    rows = [re.sub(r"<[^>]+>", "|", row) for row in table.split("<tr")[2:]]
    assert len(rows) == len(CODES)  # one is shared by two, and the idle arm has another
    (residual,) = (row for row in rows if "vq, residual" in row)
    assert "|3 x 4 bits|" in residual
    assert "|32 x 6 bits|" in next(
        row for row in rows if "quantised embeddings, nf4" in row
    )  # 4 and a share of the scales
    assert f"|{metrics(record_of(run, 'residual'))['perplexity']:.0f}|" in residual
    assert "8 floats" in next(row for row in rows if "baseline" in row)


def test_a_resumed_sweep_loads_the_codec_in_its_folder(run, tmp_path, monkeypatch):
    folder = run.parent
    monkeypatch.setenv("THINWIRE_CACHE", str(folder / "cache"))
    again = shutil.copytree(run, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (again / "codec").iterdir()}

    def never(*_):
        raise AssertionError("a finished arm's codec was fitted anew")

    monkeypatch.setattr(VQCodec, "fit", never)
    arms = {**ARMS, "more": {"codec": vq(), "lora": {"rank": 1}}}
    run_sweep(experiment(folder, arms=arms, controls=CONTROLS), again, controls="all", resume=True)
    assert record_of(again, "more").status == "done"
    assert {path.name: path.read_bytes() for path in (again / "codec").iterdir()} == before
