import importlib.util
import subprocess
import sys

import pytest

from sweep_folder import record, write_diagnostics
from thinwire.errors import UsageError
from thinwire.results.tensorboard import check_available, write_scalars

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def scalars(folder):
    """What TensorBoard itself reads: (step, value) by tag."""
    found = accumulator.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.fixture
def arm(tmp_path):
    write_diagnostics(tmp_path, record("r16_a32_full"))
    return tmp_path


def test_steps_are_training_scalars_and_evaluations_come_at_the_last_step(arm):
    write_scalars(arm)
    found = scalars(arm)
    assert found == {
        # 1 / step; TensorBoard keeps single precision
        "train/loss": [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3, rel=1e-6))],
        "train/cosine": [(1, 0.8125), (2, 0.875), (3, 0.9375)],  # 0.75 + step / 16
        "train/relative_mse": [(1, 0.5), (2, 0.5), (3, 0.5)],
        "train/ce": [(1, 4.0), (2, 2.0), (3, pytest.approx(4 / 3, rel=1e-6))],
        "train/lr_adapter": [(step, pytest.approx(0.001, rel=1e-6)) for step in (1, 2, 3)],
        "train/grad_norm_adapter": [(1, 0.5), (2, 0.5), (3, 0.5)],
        "train/grad_norm_lora": [(1, 0.125), (2, 0.25), (3, 0.375)],
        "train/tokens_per_second": [(1, 1000.0), (2, 1000.0), (3, 1000.0)],
        "selection/text_f1": [(3, 0.59375)],
        "selection/text_em": [(3, 0.125)],
        "test/test_f1": [(3, 0.6875)],
        "test/test_em": [(3, 0.625)],
    }


def test_what_an_arm_does_not_have_is_no_scalar(tmp_path):
    write_diagnostics(tmp_path, record("baseline"))
    write_scalars(tmp_path)
    found = scalars(tmp_path)
    assert "train/loss" in found
    assert not {"train/grad_norm_lora", "train/lr_lora", "train/kd"} & set(found)


def test_an_evaluation_without_training_is_at_step_zero(tmp_path):
    write_diagnostics(tmp_path, record("codec_only"))
    write_scalars(tmp_path)
    assert scalars(tmp_path) == {
        "selection/text_f1": [(0, 0.125)],
        "selection/text_em": [(0, 0.125)],
        "test/test_f1": [(0, 0.125)],
        "test/test_em": [(0, 0.0)],
    }


def test_writing_again_as_a_resumed_sweep_does_leaves_every_scalar_once(arm):
    write_scalars(arm)
    once = scalars(arm)
    write_scalars(arm)
    assert scalars(arm) == once
    assert len(list((arm / "tensorboard").iterdir())) == 1


def test_without_tensorboard_the_remedy_is_named(monkeypatch):
    check_available()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else found(name))
    with pytest.raises(UsageError, match=r"pip install 'thinwire\[tensorboard\]'"):
        check_available()


def test_importing_the_module_does_not_import_tensorboard():
    code = "import sys, thinwire.results.tensorboard; print('tensorboard' in sys.modules, 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "False False\n"
