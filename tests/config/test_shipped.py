"""Experiments that ship with the package: found by name, from any folder, and never in the place of a file."""

import logging
from pathlib import Path

import pytest

from thinwire.config.load import load_experiment
from thinwire.config.shipped import SCHEMA_FILE, shipped_experiment, shipped_experiments
from thinwire.errors import UsageError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty folder that is no checkout, as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_experiment_is_found_by_its_name_with_or_without_its_folder(caplog):
    caplog.set_level(logging.INFO)
    assert load_experiment(Path("phase1a_lora")).name == "phase1a_lora_sweep"
    assert load_experiment(Path("ablations/tradeoff")) == load_experiment(Path("tradeoff"))
    assert "experiment phase1a_lora of Thinwire" in caplog.text


def test_names_without_a_folder_are_unambiguous():
    stems = [file.stem for file in shipped_experiments().values()]
    assert len(stems) == len(set(stems)) >= 20
    assert all(shipped_experiment(name) == file for name, file in shipped_experiments().items())


@pytest.mark.parametrize("name", shipped_experiments())
def test_each_loads_with_what_it_extends(name):
    assert load_experiment(Path(name)).arms


def test_a_file_comes_before_the_experiment_of_its_name_and_a_folder_does_not(elsewhere):
    (elsewhere / "full").write_text("{name: mine, arms: {baseline: {}}}")
    (elsewhere / "tradeoff").mkdir()
    assert load_experiment(Path("full")).name == "mine"
    assert load_experiment(Path("tradeoff")).name == "tradeoff"


def test_a_file_can_extend_one_by_name_unless_there_is_such_a_file_beside_it(elsewhere):
    mine = elsewhere / "mine.yaml"
    mine.write_text("{extends: phase1a_lora, name: mine, data: {samples: 7}}")
    made = load_experiment(mine)
    assert (made.name, made.data.samples, len(made.arms)) == ("mine", 7, 11)
    (elsewhere / "phase1a_lora").write_text("{name: other, arms: {baseline: {}}}")
    assert len(load_experiment(mine).arms) == 1


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("phase1_lora", "'phase1a_lora'"),
        ("experiments/phase1a_lora.yaml", "'phase1a_lora'"),
        ("ablation/tradeof", "'ablations/tradeoff'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_all_others(name, near):
    with pytest.raises(UsageError) as caught:
        load_experiment(Path(name))
    message = str(caught.value)
    assert message.startswith(f"no experiment file {name} (did you mean {near}?); with the package come: best, ")
    assert all(one in message for one in shipped_experiments())


def test_a_missing_base_names_both_ways(elsewhere):
    (elsewhere / "mine.yaml").write_text("{extends: phase1_lora}")
    with pytest.raises(UsageError, match=r"mine.yaml extends phase1_lora, which does not exist; .*'phase1a_lora'\?"):
        load_experiment(Path("mine.yaml"))


def test_the_schema_ships_beside_them():
    assert SCHEMA_FILE.is_file()
