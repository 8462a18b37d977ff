"""Training resumed after an epoch ends like training that never stopped."""

import pytest
import torch
from safetensors.torch import save_file

from thinwire.training.state import Position, RunMetadata, TrainingState, peek
from tiny_training import arm_config, train_together

EPOCHS = {"epochs": 3, "batch_size": 3, "warmup_steps": 2}
SCORES = {1: 0.5, 2: 0.75, 3: 0.25}
"""Scores by epoch; the second is the best."""
RUN = RunMetadata(diagnostics_bytes=7, selections=(), seconds=1.5, started_at="2025-01-01T00:00:00Z", runs=())


def configs(dropout):
    """An arm without LoRA, one with rank 2 on one layer, and one with rank 4 on both layers."""
    small = {"rank": 2, "alpha": 4, "layers": 1, "dropout": dropout}
    large = {"rank": 4, "alpha": 4, "dropout": dropout}
    return [arm_config(training=EPOCHS, lora=lora) for lora in ({"rank": 0}, small, large)]


def train(*arms, resume_from=None):
    return train_together(*arms, resume_from=resume_from, select=SCORES.__getitem__)


def saved_and_loaded(state, folder):
    state.save(folder / "state", "an arm", RUN)
    return TrainingState.load(folder / "state")[0]


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_resumed_arms_end_like_those_that_never_stopped(epoch, tmp_path):
    whole = train(*configs(dropout=0.3))
    states = [saved_and_loaded(arm.kept[epoch - 1], tmp_path) for arm in whole]
    for arm, resumed in zip(whole, train(*configs(dropout=0.3), resume_from=states), strict=True):
        assert resumed.metrics == [metrics for metrics in arm.metrics if metrics["epoch"] > epoch]
        assert {name: tensor.tolist() for name, tensor in resumed.state.items()} == {
            name: tensor.tolist() for name, tensor in arm.state.items()
        }
        for name in ("best_epoch", "best_score", "num_steps", "num_tokens", "trained_together"):
            assert getattr(resumed.result, name) == getattr(arm.result, name)
        assert resumed.result.seconds >= states[0].seconds > 0
    assert whole[0].result.best_epoch == 2


def test_an_arm_resumes_without_the_other_arms_of_its_group():
    """The other arms determine how its factors are padded and which modules have any."""
    whole = train(*configs(dropout=0))
    (alone,) = train(configs(dropout=0)[1], resume_from=[whole[1].kept[0]])
    for name, tensor in whole[1].state.items():
        assert torch.allclose(alone.state[name], tensor, rtol=0, atol=1e-5), name


def test_the_last_state_holds_the_best_weights_and_nothing_else():
    (arm,) = train(configs(dropout=0)[2])
    *earlier, last = arm.kept
    assert [tensor.tolist() for tensor in last.best] == [tensor.tolist() for tensor in arm.state.values()]
    assert last.now == last.first_moments == last.second_moments == []
    assert all(len(state.now) == len(state.second_moments) == len(state.best) for state in earlier)


def test_a_state_is_found_by_its_key_and_keeps_the_run_metadata(tmp_path):
    (arm,) = train(configs(dropout=0)[0])
    file = tmp_path / "state"
    assert peek(file, "an arm") is None
    arm.kept[1].save(file, "an arm", RUN)
    assert peek(file, "an arm") == (Position(epoch=2, step=4), RUN)
    assert peek(file, "another") is None
    assert TrainingState.load(file)[1] == RUN
    file.write_bytes(file.read_bytes()[:40])
    assert peek(file, "an arm") is None, "an incomplete file is no state"
    save_file({"one": torch.zeros(1)}, file)
    assert peek(file, "an arm") is None, "nor is a file of another program"
