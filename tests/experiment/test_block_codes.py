"""The projection of blocks to codes in a sweep: fitted once, by what determines it, kept in files, and recorded."""

import pytest
import torch
from safetensors.torch import load_file

from thinwire.adapter.block_projection import codec_settings
from thinwire.codecs.pca import PCACodec
from thinwire.config.auto import resolved
from thinwire.data.blocks import MISSING
from thinwire.errors import UsageError
from thinwire.experiment import block_codes
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.runtime import make_runtime
from thinwire.experiment.sweep import run_sweep
from thinwire.experiment.text_start import with_text_start
from thinwire.model.loading import load
from thinwire.progress import Display
from thinwire.results.arm_record import read_arm_record
from tiny_sweeps import LORA, experiment

ARMS = {
    "narrow": {"blocks": {"code_width": 6}},
    "narrow_lora": {"blocks": {"code_width": 6}, "lora": LORA},
    "default": {},
    "three": {"blocks": {"size": 3}},
    "mlp": {"blocks": {"encoder": "mlp"}},
}


def blocks_experiment(folder, **changes):
    settings = {
        "input": "blocks",
        "blocks": {"encoder": "pca", "hidden": 8, "reconstruction": {"passages": 0}},
        "supervision": {"ce_weight": 1.0},
        "baseline": "narrow",
        "arms": ARMS,
        "controls": {},
    }
    return experiment(folder, **{**settings, **changes})


def projections(made, lm, target, names=tuple(ARMS)):
    artifacts = ArtifactCache(made, lm, target, Display())
    return {name: artifacts.arm_inputs(resolved(made.arm(name), "cpu")).block_projection for name in names}


def files(target):
    return sorted(path.name for path in target.glob("*.safetensors"))


def test_arms_of_the_same_blocks_and_width_share_a_projection_and_none_is_fitted_again(folder, tmp_path, monkeypatch):
    made = blocks_experiment(folder)
    lm = load(made.model)
    found = projections(made, lm, tmp_path / "all")
    assert [one and one.code_width for one in found.values()] == [6, 6, 8, 8, None]
    assert len(files(tmp_path / "all")) == 3
    # Alone, and with other questions to be answered, whose blocks are numbered before those of the training prompts.
    fewer = blocks_experiment(folder, evaluation={"samples": 1, "selection_samples": 2, "max_new_tokens": 4})
    alone = projections(fewer, lm, tmp_path / "alone", ["narrow"])["narrow"]
    assert alone.fingerprint() == found["narrow"].fingerprint()
    assert set(files(tmp_path / "alone")) < set(files(tmp_path / "all"))
    other_data = blocks_experiment(folder, data={**made.data.model_dump(), "samples": 8})
    others = projections(other_data, lm, tmp_path / "alone", ["narrow"])["narrow"]
    assert others.fingerprint() != alone.fingerprint()
    monkeypatch.setattr(block_codes, "fit_projection", None)
    again = projections(made, lm, tmp_path / "all")
    assert all(again[name].fingerprint() == one.fingerprint() for name, one in found.items() if one)


def test_a_projection_has_the_variance_of_the_blocks_of_the_training_prompts(folder, tmp_path):
    made = blocks_experiment(folder)
    lm = load(made.model)
    artifacts = ArtifactCache(made, lm, tmp_path, Display())
    inputs = artifacts.arm_inputs(resolved(made.arm("narrow"), "cpu"))
    matrix, prepared, rows = lm.embedding_matrix.double(), inputs.questions, []
    for question in prepared.encoded.train:  # each occurrence by itself
        for number in question.prompt_ids[question.context.start : question.context.stop]:
            members = prepared.blocks.members[number - len(matrix)]
            rows.append(torch.cat([matrix[i] if i != MISSING else torch.zeros(32).double() for i in members]))
    centred = torch.stack(rows) - torch.stack(rows).mean(0)
    variances = torch.linalg.svdvals(centred).square() / len(rows)
    projection = inputs.block_projection
    torch.testing.assert_close(projection.variances, variances[:6], rtol=1e-5, atol=1e-9)
    assert projection.variance_kept == pytest.approx(float(variances[:6].sum() / variances.sum()), abs=1e-6)


def test_a_sweep_records_the_codes_and_its_checkpoints_hold_the_projection(folder, tmp_path, caplog):
    made = blocks_experiment(folder, arms={name: ARMS[name] for name in ("narrow", "mlp")})
    with caplog.at_level("INFO"):
        records = run_sweep(made, tmp_path / "run")
    assert {record.status for record in records} == {"done"}
    (file,) = (tmp_path / "run" / "codec").glob("*.safetensors")
    fitted = PCACodec.load(file, codec_settings(made.arm("narrow").blocks, 32), 64)
    codes = read_arm_record(tmp_path / "run" / "narrow").done.block_codes
    assert (codes.code_width, codes.variance_kept) == (6, fitted.variance_kept)
    assert 0 < codes.variance_kept < 1
    assert f"codes of blocks: 64 to 6 numbers a block, variance kept {codes.variance_kept:.3f}" in caplog.text
    assert read_arm_record(tmp_path / "run" / "mlp").done.block_codes is None
    saved = load_file(tmp_path / "run" / "narrow" / "checkpoint" / "block_encoder.safetensors")
    assert torch.equal(saved["components"], fitted.components)
    assert torch.equal(saved["mean"], fitted.mean)


def test_weights_from_texts_belong_to_their_projection(folder, tmp_path):
    made = blocks_experiment(
        folder,
        arms={"narrow": ARMS["narrow"]},
        blocks={"encoder": "pca", "hidden": 8, "reconstruction": {"passages": 4, "batch_size": 2}},
    )
    lm = load(made.model)
    artifacts, runtime = ArtifactCache(made, lm, tmp_path, Display()), make_runtime(made, lm, Display())

    def started():
        inputs = artifacts.arm_inputs(resolved(made.arm("narrow"), "cpu"))
        return with_text_start(runtime, artifacts, inputs).embeddings.encoder

    cached = folder / "cache" / "adapters"
    first = started()
    number = len(files(cached))
    assert torch.equal(started().map.linear.weight, first.map.linear.weight)
    assert len(files(cached)) == number
    (file,) = tmp_path.glob("*.safetensors")
    config = made.arm("narrow").blocks
    fitted = PCACodec.load(file, codec_settings(config, 32), 64)
    PCACodec(**{**fitted.state(), "components": -fitted.components}).save(file)  # as exact, of other signs
    assert torch.equal(started().components, -first.components)
    assert len(files(cached)) == number + 1


def test_codes_wider_than_the_blocks_differ_are_warned_of_and_no_blocks_are_refused(folder, tmp_path, caplog):
    cut = {"prompt": {"truncation": "right", "max_tokens": 3}}
    made = blocks_experiment(folder, arms={"narrow": {"blocks": {"size": 1, "code_width": 32}}, "none": cut})
    lm = load(made.model)
    projections(made, lm, tmp_path, ["narrow"])
    assert "a smaller blocks.code_width" in caplog.text
    with pytest.raises(UsageError, match=r"no training prompt has blocks of a context to fit blocks\.encoder=pca to"):
        projections(made, lm, tmp_path, ["none"])
