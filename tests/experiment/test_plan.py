"""Which runs an experiment plans: arms and controls with their seeds."""

import logging

import pytest

from thinwire.config.experiment import Experiment
from thinwire.errors import UsageError
from thinwire.experiment.plan import log_notes, plan
from thinwire.schema import build

LORA = {"rank": 2}


def experiment(**changes):
    settings = {
        "name": "tiny",
        "data": {"samples": 501},
        "seeds": [3, 5],
        "arms": {"baseline": {}, "r2": {"lora": LORA}},
        "controls": {
            "codec_only": {"input": "codec"},
            "text_lora": {"input": "text", "lora": LORA},
            "text_lora_untrained": {"input": "text", "lora": LORA, "training": {"epochs": 0}},
        },
    }
    return build(Experiment, {**settings, **changes}, where="")


def names(runs):
    return [run.name for run in runs]


def test_arms_and_controls_that_train_run_with_every_seed_and_others_once():
    runs = plan(experiment(), [], "auto")
    assert names(runs) == [
        *("baseline", "baseline-seed5", "r2", "r2-seed5"),
        *("codec_only", "text_lora", "text_lora-seed5", "text_lora_untrained"),
    ]
    assert [run.config.seed for run in runs] == [3, 5, 3, 5, 0, 3, 5, 0]
    assert [(run.arm, run.kind) for run in runs[5:7]] == [("text_lora", "control")] * 2


def test_a_control_that_learns_from_texts_alone_runs_with_every_seed():
    own = {"input": "blocks", "training": {"epochs": 0}, "supervision": {"ce_weight": 1}}
    untaught = {**own, "blocks": {"reconstruction": {"passages": 0}}}
    runs = plan(experiment(controls={"written": own, "untaught": untaught}), ["written", "untaught"], "auto")
    assert names(runs) == ["written", "written-seed5", "untaught"]


def test_without_seeds_each_runs_once_with_its_own():
    controls = {"text_lora": {"input": "text", "lora": LORA, "seed": 7}}
    runs = plan(experiment(seeds=[], controls=controls), [], "auto")
    assert [(run.name, run.config.seed) for run in runs] == [("baseline", 0), ("r2", 0), ("text_lora", 7)]


def test_a_named_control_runs_with_its_seeds_whatever_is_said_of_controls():
    assert names(plan(experiment(), ["text_lora"], "none")) == ["text_lora", "text_lora-seed5"]
    with pytest.raises(UsageError, match="'text_lore'"):
        plan(experiment(), ["text_lore"], "none")


def left_out(caplog, *arguments):
    """What is logged of the controls that are left out."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="thinwire"):
        log_notes(*arguments)
    return caplog.messages


def test_controls_that_train_are_left_out_of_a_small_run(caplog):
    small = experiment(data={"samples": 500})
    assert names(plan(small, [], "auto"))[4:] == ["codec_only", "text_lora_untrained"]
    assert names(plan(small, [], "all"))[4:] == ["codec_only", "text_lora", "text_lora-seed5", "text_lora_untrained"]
    assert names(plan(small, [], "none")) == ["baseline", "baseline-seed5", "r2", "r2-seed5"]
    assert left_out(caplog, small, [], "auto") == ["leaving out the control text_lora: 500 samples (--controls all)"]
    for only, controls, samples in (([], "all", 500), ([], "none", 500), (["r2"], "auto", 500), ([], "auto", 501)):
        assert left_out(caplog, experiment(data={"samples": samples}), only, controls) == []


def test_settings_of_an_arm_that_change_nothing_in_it_are_named(caplog):
    blocks = {"size": 2, "hidden": 8}
    arms = {
        "baseline": {},
        "k2": {"blocks": blocks, "lora": {"rank": 8}},
        "read": {"input": "blocks", "blocks": blocks},
    }
    made = experiment(arms=arms, supervision={"ce_weight": 1.0})
    with caplog.at_level("WARNING", logger="thinwire"):
        log_notes(made, [], "none")
    (message,) = caplog.messages
    assert message == "without effect in k2, whose input is adapter: blocks.size, blocks.hidden"
    caplog.clear()
    log_notes(made, ["read"], "none")
    assert caplog.messages == []
