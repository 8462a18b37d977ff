"""Training resumed after an epoch ends like training that never stopped."""

import math
import os
import signal

import pytest
import torch
from safetensors.torch import save_file

from thinwire import interruption
from thinwire.interruption import Interrupted
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


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5, 6])
def test_arms_stopped_by_a_signal_after_any_step_end_like_those_that_never_stopped(stop, tmp_path, hears_signals):
    """Three epochs of two steps; micro-batches of one question, so that a step has several dropout masks."""

    def stopping(metrics):
        if metrics.step == stop and interruption.received() is None:
            os.kill(os.getpid(), signal.SIGUSR1)

    options = {"micro_batch_tokens": 3 * 40, "select": SCORES.__getitem__}
    whole = train_together(*configs(dropout=0.3), **options)
    kept = [[] for _ in whole]
    with pytest.raises(Interrupted, match="SIGUSR1") as caught:
        train_together(*configs(dropout=0.3), **options, then=stopping, kept=kept)
    assert caught.value.exit_code == 128 + signal.SIGUSR1
    states = [saved_and_loaded(own[-1], tmp_path) for own in kept]
    assert {(state.epoch, state.step) for state in states} == {((stop - 1) // 2, stop)}
    # As many tokens as micro-batches had, although more would fit now.
    hears_signals()
    again = train_together(*configs(dropout=0.3), **{**options, "micro_batch_tokens": 9999}, resume_from=states)
    for arm, resumed in zip(whole, again, strict=True):
        assert resumed.metrics == [metrics for metrics in arm.metrics if metrics["step"] > stop]
        assert all(torch.equal(resumed.state[name], tensor) for name, tensor in arm.state.items())
        for name in ("best_epoch", "best_score", "num_steps", "num_tokens", "trained_together"):
            assert getattr(resumed.result, name) == getattr(arm.result, name)


def test_an_arm_resumes_without_the_other_arms_of_its_group():
    """The other arms determine how its factors are padded and which modules have any."""
    whole = train(*configs(dropout=0))
    (alone,) = train(configs(dropout=0)[1], resume_from=[whole[1].kept[0]])
    for name, tensor in whole[1].state.items():
        assert torch.allclose(alone.state[name], tensor, rtol=0, atol=1e-5), name


def test_an_arm_that_failed_stays_in_its_group_so_that_the_others_masks_stay_the_same(tmp_path, hears_signals):
    """The wild arm's loss is no longer finite at its second step; the signal comes at the fourth."""

    def stopping(metrics):
        if metrics.step == 4 and interruption.received() is None:
            os.kill(os.getpid(), signal.SIGTERM)

    wild = {"rank": 4, "alpha": 4, "dropout": 0.3}
    group = [*configs(dropout=0.3), arm_config(training={**EPOCHS, "adapter_lr": 1e30}, lora=wild)]
    whole = train(*group)
    kept = [[] for _ in group]
    with pytest.raises(Interrupted):
        train_together(*group, select=SCORES.__getitem__, then=stopping, kept=kept)
    states = [saved_and_loaded(own[-1], tmp_path) for own in kept]
    assert states[3].best_score == -math.inf
    hears_signals()
    for arm, resumed in zip(whole, train(*group, resume_from=states), strict=True):
        assert str(resumed.result).partition("seconds")[0] == str(arm.result).partition("seconds")[0]
        assert all(torch.equal(resumed.state[name], tensor) for name, tensor in arm.state.items())
    assert "became" in str(whole[3].result)


@pytest.mark.parametrize(("minutes", "places"), [(1e-9, [1, 2, 2, 3, 4, 4, 5, 6, 6]), (60, [2, 4, 6])])
def test_resume_points_are_kept_after_the_minutes_asked_for_and_after_each_epoch(minutes, places):
    (arm,) = train(arm_config(training={**EPOCHS, "checkpoint_minutes": minutes}))
    assert [state.step for state in arm.kept] == places
    (other,) = train(arm_config(training=EPOCHS))
    assert arm.metrics == other.metrics, "keeping them changes nothing"


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
