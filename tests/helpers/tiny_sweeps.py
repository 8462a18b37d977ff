"""Experiments with the tiny model, and functions that read the files of their sweeps."""

import json
import time

import pytest

from thinwire.checkpoints.evaluate import evaluate_target
from thinwire.config.experiment import Experiment
from thinwire.config.settings import EvaluationConfig, ModelConfig, PromptConfig
from thinwire.experiment.sweep import run_sweep
from thinwire.progress import Display
from thinwire.schema import build
from tiny_models import save_sweep_inputs

LORA = {"rank": 2, "alpha": 4, "layers": 1, "dropout": 0.0}
ARMS = {
    "baseline": {},
    "r2": {"lora": LORA},
    "r4": {"lora": {"rank": 4, "alpha": 32, "dropout": 0.0}},
    "quick": {"lora": LORA, "training": {"adapter_lr": 1e-2, "lora_lr": 1e-2, "clip_norm": 0.1}},
}
CONTROLS = {"codec_only": {"input": "codec"}, "text_lora": {"input": "text", "lora": {"rank": 2, "dropout": 0.0}}}
NAMES = [*ARMS, "controls/codec_only", "controls/text_lora"]


def experiment(folder, **changes):
    """Make an experiment with the inputs in ``folder``."""
    settings = {
        "name": "phase1a_lora_sweep",
        "model": {"name": str(folder / "model"), "device": "cpu", "dtype": "float32"},
        "data": {
            "train": str(folder / "train.json"),
            "test": str(folder / "test.json"),
            "samples": 12,
            "selection_articles": 2,
        },
        "adapter": {"hidden": 16},
        "reconstruction": {"steps": 30, "batch_rows": 64},
        "training": {"epochs": 2, "batch_size": 8},
        "evaluation": {"samples": 6, "selection_samples": 5, "max_new_tokens": 4},
        "arms": {"baseline": {}, "r2": {"lora": {"rank": 2, "alpha": 4, "layers": 1}}},
        "controls": {"codec_only": {"input": "codec"}, "text_lora": {"input": "text", "lora": {"rank": 2}}},
    }
    return build(Experiment, {**settings, **changes}, where="")


def finished_run(folder, **changes):
    """Run a sweep whose training visibly changes the answers, with its inputs and cache in ``folder``; return its
    folder."""
    save_sweep_inputs(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THINWIRE_CACHE", str(folder / "cache"))
        training = {"epochs": 2, "batch_size": 4, "lora_lr": 0.1, "adapter_lr": 0.01}
        run_sweep(experiment(folder, **{"training": training, **changes}), folder / "run", controls="all")
    return folder / "run"


def lines(path):
    """Return the rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def timeless(path):
    """Return the rows of a JSON Lines file without the fields that depend on time."""
    return [{k: v for k, v in row.items() if k != "tokens_per_second"} for row in lines(path)]


def evaluate(target, data, **changes):
    """Evaluate an arm or a model on 6 questions of ``data``."""
    options = {
        "data": str(data),
        "num": 6,
        "seed": 0,
        "model": ModelConfig(name=str(target), device="cpu", dtype="float32"),
        "prompt": PromptConfig(),
        "evaluation": EvaluationConfig(max_new_tokens=4),
        "unanswerable": "refuse",
        "display": Display(),
    }
    return evaluate_target(str(target), **{**options, **changes})


def wait_for(condition, seconds=300.0):
    """Wait until ``condition()`` is true; it is an error if that takes longer."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.05)


def have_started(run, *names):
    """Return whether arms have written their first diagnostics."""
    return all((run / name / "diagnostics.jsonl").exists() for name in names)
