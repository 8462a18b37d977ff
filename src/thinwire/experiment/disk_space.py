"""Estimate what a sweep will write, and refuse one that its disk has no room for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from thinwire.adapter.making import encoder_parameters
from thinwire.config.experiment import ArmConfig
from thinwire.errors import StorageError, UsageError
from thinwire.experiment.plan import Planned
from thinwire.model.language_model import LanguageModel
from thinwire.model.lora_modules import adapted_modules
from thinwire.storage_errors import free_space

_FLOAT_BYTES = 4
"""Checkpoints and resume points hold float32."""

_STATE_COPIES = 4
"""A resume point holds weights, two moments, and the weights of the best epoch."""

_STATES_AT_ONCE = 2
"""A new resume point is written before the old one is removed."""

_ANSWER_BYTES, _STEP_BYTES = 600, 400
"""About what a line of the predictions and of the diagnostics takes."""


def bytes_to_write(
    groups: Sequence[Sequence[Planned]],
    lm: LanguageModel,
    *,
    num_train: int,
    num_test: int,
    num_groups_at_once: int,
) -> int:
    """Estimate from below what the arms of ``groups`` will write: checkpoints, resume points of those that run at the
    same time, answers and diagnostics.

    Args:
        num_train: training questions.
        num_test: test questions of an arm.
        num_groups_at_once: groups that run at the same time.
    """
    trained = [[trained_parameters(run.config, lm) for run in group] for group in groups]
    states = sorted((sum(numbers) for numbers in trained), reverse=True)[:num_groups_at_once]
    numbers = sum(map(sum, trained)) + _STATE_COPIES * _STATES_AT_ONCE * sum(states)
    configs = [run.config for group in groups for run in group]
    steps = sum(c.training.epochs * c.training.steps_per_epoch(num_train) for c in configs if c.has_trainable)
    return _FLOAT_BYTES * numbers + _STEP_BYTES * steps + _ANSWER_BYTES * num_test * len(configs)


def trained_parameters(config: ArmConfig, lm: LanguageModel) -> int:
    """Estimate the number of trained parameters of an arm: exact for LoRA, and for an adapter of codes of floats."""
    if not config.learns:
        return 0
    width, hidden, number = lm.embedding_matrix.shape[1], config.adapter.hidden, 0
    try:
        if config.input == "adapter":
            features = config.codec.code_width(width)
            number += width * (features + 1) + hidden * (features + 1) + width * (hidden + 1)
        elif config.input == "blocks":
            copied = lm.layers[: config.blocks.layers] if config.copies_layers else []
            decoder = sum(parameter.numel() for layer in copied for parameter in layer.parameters())
            number += encoder_parameters(config.blocks, width, decoder)
        if config.lora.is_trained:
            modules = [lm.model.get_submodule(name) for name in adapted_modules(lm.model, config.lora)]
            number += config.lora.rank * sum(module.in_features + module.out_features for module in modules)
    except UsageError:  # such an arm fails before it writes much
        return 0
    return number


def check_space(folder: Path, needed: int) -> None:
    """Refuse to begin a sweep that its disk has no room for.

    Raises:
        StorageError: less than ``needed`` bytes are free; the message has both figures.
    """
    if (free := free_space(folder)) < needed:
        raise StorageError(
            f"{folder} needs about {needed / 1e9:,.3f} GB for what is left to run, and {free / 1e9:,.3f} GB are free "
            "there; free some space, or choose another folder (--output)"
        )
