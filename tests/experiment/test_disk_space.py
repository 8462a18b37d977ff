"""What a sweep will write, worked out by hand, and the refusal where there is no room for it."""

from dataclasses import replace

import pytest

from thinwire.config.experiment import ArmConfig
from thinwire.errors import StorageError, UsageError
from thinwire.experiment import disk_space, sweep_inputs
from thinwire.experiment.disk_space import bytes_to_write, check_space, trained_parameters
from thinwire.experiment.plan import Planned
from thinwire.experiment.sweep import run_sweep
from thinwire.experiment.sweep_inputs import check_sizes
from thinwire.schema import build
from tiny_models import tiny_lm
from tiny_sweeps import experiment


def planned(**changes):
    config = build(ArmConfig, {"adapter": {"hidden": 8}, **changes}, where="")
    return Planned(name="arm", arm="arm", kind="arm", config=config)


# Width 32, codes of 8 numbers: W 32 x 8 + 32, W_in 8 x 8 + 8, W_out 32 x 8 + 32.
ADAPTER = 288 + 72 + 288


def test_trained_parameters_are_those_of_adapter_and_lora():
    lm = tiny_lm()
    assert trained_parameters(planned().config, lm) == ADAPTER
    # Rank 2, one layer of width 32 with 16 key-value channels: 2 x (64 + 48 + 48 + 64).
    lora = {"rank": 2, "layers": 1}
    assert trained_parameters(planned(lora=lora).config, lm) == ADAPTER + 448
    assert trained_parameters(planned(lora=lora, input="text").config, lm) == 448
    for nothing in ({"training": {"epochs": 0}}, {"input": "text"}, {"lora": {"rank": 2, "layers": 9}}):
        assert trained_parameters(planned(**nothing).config, lm) == 0


def test_each_arm_writes_a_checkpoint_and_those_that_run_at_once_two_resume_points():
    arm = planned(training={"epochs": 2, "batch_size": 4})
    groups = [[arm, replace(arm, name="other")], [replace(arm, name="third")]]
    # Three checkpoints; two arms at once, with two resume points of four copies each; 4 bytes a number.
    numbers = 3 * ADAPTER + 2 * 2 * 4 * ADAPTER
    # Three arms of 2 x 3 steps and 10 answers.
    lines = 3 * (6 * 400 + 10 * 600)
    assert bytes_to_write(groups, tiny_lm(), num_train=12, num_test=10, num_groups_at_once=1) == 4 * numbers + lines


def test_a_disk_without_room_is_refused_with_both_figures(tmp_path):
    check_space(tmp_path / "run", 1)
    with pytest.raises(StorageError, match=r"run needs about 1,000,000\.000 GB .* and [\d,.]+ GB are free there; free"):
        check_space(tmp_path / "run", 10**15)


# Blocks of two embeddings of width 32: padding, and maps of 64 numbers to 32.
MAP, MLP = 32 * 65, 8 * 65 + 32 * 9
# Queries, keys, values and output, three maps of the MLP to or from 48, two norms.
LAYER = 32 * (32 + 16 + 16 + 32) + 3 * 32 * 48 + 2 * 32
# Rank 2 on the first four of these: from 32 numbers each, to as many as they have.
LORA = 2 * (4 * 32 + (32 + 16 + 16 + 32))


@pytest.mark.parametrize(
    ("blocks", "changes", "number", "settings"),
    [
        ({"encoder": "mlp", "hidden": 8}, {}, 32 + MAP + MLP, "blocks.hidden or lora.rank"),
        ({"encoder": "first_layers", "layers": 1}, {}, 32 + 2 * MAP + LAYER, "blocks.layers or lora.rank"),
        ({"encoder": "first_layers", "layers": 2}, {}, 32 + 2 * MAP + 2 * LAYER, "blocks.layers or lora.rank"),
        (
            {"encoder": "mlp", "hidden": 8},
            {"lora": {"rank": 2, "layers": 1}},
            32 + MAP + MLP + LORA,
            "blocks.hidden or lora.rank",
        ),
        ({"encoder": "mean"}, {"lora": {"rank": 2, "layers": 1}}, LORA, "lora.rank"),
    ],
)
def test_an_encoder_of_blocks_that_does_not_fit_the_memory_is_refused(blocks, changes, number, settings, monkeypatch):
    arm = planned(input="blocks", blocks=blocks, supervision={"ce_weight": 1}, **changes)
    monkeypatch.setattr(sweep_inputs, "free_memory", lambda _: 16 * number)
    check_sizes([arm], tiny_lm())
    monkeypatch.setattr(sweep_inputs, "free_memory", lambda _: 16 * number - 1)
    with pytest.raises(UsageError, match=f"arm would fail: .* GB are free on cpu; choose a smaller {settings}$"):
        check_sizes([arm], tiny_lm())


def test_an_encoder_of_blocks_that_is_not_trained_takes_no_memory_for_training(monkeypatch):
    blocks = {"encoder": "mlp", "reconstruction": {"passages": 0}}
    monkeypatch.setattr(sweep_inputs, "free_memory", lambda _: 0)
    check_sizes([planned(input="blocks", blocks=blocks, training={"epochs": 0})], tiny_lm())


@pytest.mark.parametrize(
    ("module", "check", "changes", "error", "reason"),
    [
        (disk_space, "free_space", {}, StorageError, "for what is left to run"),
        (sweep_inputs, "free_memory", {}, UsageError, "GB are free on cpu"),
        (None, None, {"data": {"train": "nowhere.json"}}, UsageError, "no data file nowhere.json"),
        (None, None, {"codec": {"compress_dim": 33}}, UsageError, "would fail"),
        (
            None,
            None,
            {"input": "blocks", "supervision": {"ce_weight": 1}, "blocks": {"encoder": "pca", "code_width": 65}},
            UsageError,
            "would fail: blocks.code_width is 65, .* as many numbers as its 2 embeddings, 64; choose 1 to 64",
        ),
    ],
)
@pytest.mark.parametrize("new", ["a", "a/b/c"])
def test_a_sweep_is_refused_before_it_writes_and_leaves_no_new_folder(
    new, module, check, changes, error, reason, folder, tmp_path, monkeypatch
):
    if check:
        monkeypatch.setattr(module, check, lambda _: 1000)
    with pytest.raises(error, match=reason):
        run_sweep(experiment(folder, **changes), tmp_path / new, only=["r2"])
    assert list(tmp_path.iterdir()) == []
