"""Going on after an epoch is training as if it had not stopped."""

import pytest
import torch
from safetensors.torch import save_file

from thinwire.training_state import TrainingState, look_at
from train_example import arm_config, train_together

EPOCHS = {"epochs": 3, "batch_size": 3, "warmup_steps": 2}
SCORES = {1: 0.5, 2: 0.75, 3: 0.25}
"""By epoch: the second is the best."""


def configs(dropout):
    """Without LoRA, with rank 2 on one layer, and with rank 4 on both."""
    small = {"rank": 2, "alpha": 4, "layers": 1, "dropout": dropout}
    large = {"rank": 4, "alpha": 4, "dropout": dropout}
    return [arm_config(training=EPOCHS, lora=lora) for lora in ({"rank": 0}, small, large)]


def train(*arms, begun=None):
    return train_together(*arms, begun=begun, select=SCORES.__getitem__)


def written_and_read(state, folder):
    state.save(folder / "state", "an arm", {})
    return TrainingState.load(folder / "state")[0]


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_arms_that_go_on_end_as_those_that_never_stopped(epoch, tmp_path):
    whole = train(*configs(dropout=0.3))
    states = [written_and_read(arm.kept[epoch - 1], tmp_path) for arm in whole]
    for arm, one in zip(whole, train(*configs(dropout=0.3), begun=states), strict=True):
        assert one.figures == [figures for figures in arm.figures if figures["epoch"] > epoch]
        assert {name: tensor.tolist() for name, tensor in one.state.items()} == {
            name: tensor.tolist() for name, tensor in arm.state.items()
        }
        for name in ("best_epoch", "best_score", "num_steps", "num_tokens", "trained_together"):
            assert getattr(one.outcome, name) == getattr(arm.outcome, name)
        assert one.outcome.seconds >= states[0].seconds > 0
    assert whole[0].outcome.best_epoch == 2


def test_an_arm_goes_on_without_those_that_it_began_beside():
    """They decide how its factors are padded and which modules have any at all."""
    whole = train(*configs(dropout=0))
    (alone,) = train(configs(dropout=0)[1], begun=[whole[1].kept[0]])
    for name, tensor in whole[1].state.items():
        assert torch.allclose(alone.state[name], tensor, rtol=0, atol=1e-5), name


def test_the_last_state_holds_the_best_weights_and_nothing_else():
    (arm,) = train(configs(dropout=0)[2])
    *earlier, last = arm.kept
    assert [tensor.tolist() for tensor in last.best] == [tensor.tolist() for tensor in arm.state.values()]
    assert last.now == last.first_moments == last.second_moments == []
    assert all(len(state.now) == len(state.second_moments) == len(state.best) for state in earlier)


def test_a_state_counts_for_what_it_was_made_for_and_keeps_the_books(tmp_path):
    (arm,) = train(configs(dropout=0)[0])
    file = tmp_path / "state"
    assert look_at(file, "an arm") is None
    arm.kept[1].save(file, "an arm", {"lines": [1, 2]})
    assert look_at(file, "an arm") == (2, {"lines": [1, 2]})
    assert look_at(file, "another") is None
    assert TrainingState.load(file)[1] == {"lines": [1, 2]}
    file.write_bytes(file.read_bytes()[:40])
    assert look_at(file, "an arm") is None, "half a file is none"
    save_file({"one": torch.zeros(1)}, file)
    assert look_at(file, "an arm") is None, "and another program's is none"
