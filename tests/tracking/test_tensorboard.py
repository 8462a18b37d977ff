import pytest

from sweep_folder import record
from tracked_runs import SCALARS, begin, diagnostics, report_interrupted, report_sweep, trackers

accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="the package tensorboard is not installed"
)


def read(folder):
    """Return the scalars, (step, value) by tag, and the texts by tag, as TensorBoard itself reads them."""
    found = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    tags = found.Tags()
    scalars = {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in tags["scalars"]}
    texts = {tag: found.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tags["tensors"]}
    return scalars, texts


def single(scalars):
    """The scalars as they are in single precision."""
    return {tag: [(step, pytest.approx(value, rel=1e-6)) for step, value in found] for tag, found in scalars.items()}


def test_scalars_can_be_read_while_the_arm_runs(tmp_path):
    one = record("r16_a32_full")
    first, second = diagnostics(tmp_path, one)[:2]
    with trackers(tmp_path, "tensorboard") as told:
        begin(told, tmp_path, one)
        told.logged(one.name, first)
        told.logged(one.name, second)
        told._callers[0].close(60)  # all has been written, and the arm has not ended
        assert read(tmp_path / "tensorboard" / one.name)[0]["train/loss"] == [(1, 1.0), (2, 0.5)]


def test_a_resumed_arm_has_each_scalar_once_and_its_settings(tmp_path):
    report_interrupted(tmp_path, tmp_path, "tensorboard")
    scalars, texts = read(tmp_path / "tensorboard" / "r16_a32_full")
    assert scalars == single(SCALARS)
    assert '"rank": 16' in texts["config/text_summary"]
    assert len(list((tmp_path / "tensorboard" / "r16_a32_full").iterdir())) == 1


def test_the_sweep_has_its_verdict_table_and_its_arms(tmp_path):
    analysis = report_sweep(tmp_path / "run", "tensorboard")
    folder = tmp_path / "run" / "tensorboard"
    (found,) = accumulator.EventAccumulator(str(folder)).Reload().Tensors("verdict/text_summary")
    assert found.tensor_proto.string_val[0].decode().startswith(analysis.verdict.headline)
    assert read(folder / "r16_a32_full")[0] == single(SCALARS)
    assert read(folder / "codec_only")[0]["test/test_f1"] == [(0, 0.125)]
