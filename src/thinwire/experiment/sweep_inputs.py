"""Read and check all that a sweep needs before a model is loaded and anything is written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import torch

from thinwire.cache import cache_dir
from thinwire.checkpoints.load import check_arm, check_same_lora, find_arm
from thinwire.codecs.table import codec_class
from thinwire.config.auto import resolved
from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.config.idle import effective_settings
from thinwire.config.lora_settings import LoraSettings
from thinwire.config.settings import ColumnsConfig
from thinwire.data.context_selection import check_selects_without_question
from thinwire.data.passages import check_asks_without_question
from thinwire.data.prompt_template import SLOTS, prompt_templates, template_for
from thinwire.data.splits import Splits
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment.disk_space import trained_parameters
from thinwire.experiment.plan import Planned
from thinwire.experiment.scheduling import check_worker_processes
from thinwire.experiment.search import search_experiment
from thinwire.inputs import check_path
from thinwire.model.first_layers import check_first_layers
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import check_base_bits, choose_device, num_layers
from thinwire.model.lora_modules import adapted_modules
from thinwire.model.memory import free_memory
from thinwire.results.layout import arm_folder
from thinwire.tasks.table import TASKS

_BYTES_PER_PARAMETER = 16
"""Of a trained parameter in float32, with its gradient and AdamW's two moments."""


def checked_device(experiment: Experiment) -> torch.device:
    """Return the device of a sweep, after checks of what the machine must have for it.

    Raises:
        UsageError: there is no such device, its processes or ``model.base_bits`` cannot be had there, or there is no
            place for the cache.
    """
    device = choose_device(experiment.model.device)
    check_worker_processes(device, experiment.worker_processes)
    check_base_bits(experiment.model.base_bits, device)
    cache_dir()
    return device


def read_splits(
    experiment: Experiment, planned: Sequence[Planned], folder: Path, splits: Splits | None = None
) -> Splits:
    """Read the questions of a sweep, after checks of everything that decides whether its arms can run.

    Args:
        splits: the experiment's, where its questions are read already.

    Raises:
        UsageError: the device, the data or the settings to be searched cannot be used, or arms are certain to fail (a
            line for each).
    """
    device = checked_device(experiment)
    if found := obstacles(planned, folder, experiment.data.columns):
        raise UsageError(*(f"{name} would fail: {why}" for name, why in found.items()))
    if experiment.search:
        search_experiment(experiment)  # refuses combinations of values that no arm may have
    splits = splits or Splits(experiment.data, experiment.seed, TASKS[experiment.task])
    for evaluation in dict.fromkeys(resolved(run.config, device.type).evaluation for run in planned):
        splits.drawn(evaluation)
    if any(run.config.reconstructs_text and run.config.blocks.reconstruction.distractors for run in planned):
        splits.check_texts()
    return splits


def obstacles(
    planned: Sequence[Planned], folder: Path, columns: ColumnsConfig, model: str | None = None
) -> dict[str, str]:
    """Return why runs are certain to fail, by their names, as far as it is known without loading the model.

    Args:
        folder: of the sweep; an arm may begin with another that the same sweep trains.
        columns: of the questions, which say what prompts can be made of.
        model: name of the model, whose configuration is read if it is on this machine and an arm depends on it; by
            default it is not read.

    Raises:
        UsageError: the model's configuration cannot be used.
    """
    folders = {run.name: _resolved(arm_folder(folder, run.name, run.kind)) for run in planned}
    own = {folders[run.name]: run.config for run in planned}
    counted = any(run.config.lora.rank > 0 and run.config.lora.layers != "all" for run in planned)
    depth = num_layers(model) if model is not None and counted else None
    found = {
        run.name: _obstacle(run.config, own, columns, depth) or _needs_itself(folders[run.name], own) for run in planned
    }
    return {name: why for name, why in found.items() if why}


def _resolved(path: str | Path) -> Path:
    return Path(os.path.realpath(path))  # unlike Path.resolve, also where a link leads to itself


def _needs_itself(folder: Path, own: Mapping[Path, ArmConfig]) -> str | None:
    """Say that an arm would have to be done before it begins: it starts from or learns from itself, or from an arm of
    the same sweep that does so from it, and so on.

    Args:
        folder: the arm's.
        own: arms of the sweep by their folders.
    """
    seen: set[Path] = set()
    left = [folder]
    while left:
        config = own[left.pop()]
        sources = [config.supervision.teacher if config.supervision.kd_weight > 0 else None]
        sources += [config.lora.start_from if config.lora.rank > 0 else None]
        needed = {_resolved(source) for source in sources if source is not None} & own.keys()
        if folder in needed:
            return (
                "it would have to be done before it can begin, as it needs itself, or an arm that needs it "
                "(lora.start_from, supervision.teacher); name another arm"
            )
        left += needed - seen
        seen |= needed
    return None


def _obstacle(
    config: ArmConfig, own: Mapping[Path, ArmConfig], columns: ColumnsConfig, depth: int | None
) -> str | None:
    if config.untrained_lora:
        return config.untrained_lora
    try:
        there = {slot for slot in SLOTS if getattr(columns, slot) is not None}
        there -= set() if config.context else {"context"}
        template = template_for(prompt_templates(config.prompt.template, TASKS[config.task]), frozenset(there))
        if "context" in there and "question" not in there:
            check_selects_without_question(config.prompt)
        if config.input == "blocks":
            _check_has_texts(config, there & set(template.slots))
        if depth is not None:
            config.lora.adapted_layers(depth)
        if config.supervision.kd_weight > 0 and config.supervision.teacher is not None:
            teacher = check_path(config.supervision.teacher, "teacher (supervision.teacher)")
            if _resolved(teacher) not in own:
                check_arm(find_arm(teacher))
        if config.lora.rank > 0 and config.lora.start_from is not None:
            start = check_path(config.lora.start_from, "starting LoRA (lora.start_from)")
            if (before := own.get(_resolved(start))) is not None:
                check_same_lora(start, before.lora, config.lora)
            else:
                from_arm = find_arm(start)
                check_same_lora(from_arm.folder, from_arm.config.lora, config.lora)
                check_arm(from_arm)
    except ThinwireError as error:
        return str(error)
    return None


def _check_has_texts(config: ArmConfig, there: Set[str]) -> None:
    """Refuse blocks where there is no context to make them of, or none to ask about in the way that is set.

    Args:
        there: what prompts hold: ``context``, ``question``.

    Raises:
        UsageError: with what to set.
    """
    if "context" not in there:
        raise UsageError("input is blocks, but the questions have no context; name its column: data.columns.context")
    if "question" not in there and config.reconstructs_text:
        check_asks_without_question(config.blocks.reconstruction.modes)


def check_sizes(planned: Sequence[Planned], lm: LanguageModel) -> None:
    """Refuse arms whose codes, LoRA or trained parameters do not fit the model or the memory.

    Raises:
        UsageError: a codec cannot be fitted to the embedding matrix, the model does not have the layers or modules that
            LoRA adapts, or an arm needs more memory than is free: a line for each.
    """
    free = free_memory(lm.device)
    adapted = {lora: _fault_of_lora(lora, lm) for lora in {run.config.lora for run in planned}}
    found = {run.name: adapted[run.config.lora] or _fault_of_sizes(run.config, lm, free) for run in planned}
    if lines := [f"{name} would fail: {why}" for name, why in found.items() if why]:
        raise UsageError(*lines)


def _fault_of_lora(lora: LoraSettings, lm: LanguageModel) -> str | None:
    try:
        adapted_modules(lm.model, lora)
    except UsageError as error:
        return str(error)
    return None


def _fault_of_sizes(config: ArmConfig, lm: LanguageModel, free: int) -> str | None:
    try:
        if config.uses_codec:
            codec_class(config.codec).check_fits(config.codec, *reversed(lm.embedding_matrix.shape))
        if config.has_block_codes:
            config.blocks.numbers_in_code(lm.embedding_matrix.shape[1])
        if config.copies_layers:
            check_first_layers(lm, config.blocks.layers)
        needed = _least_bytes(config, lm)
    except UsageError as error:
        return str(error)
    if needed <= free:
        return None
    return (
        f"its training takes at least {needed / 1e9:,.0f} GB beside the model, and {free / 1e9:,.0f} GB are free on "
        f"{lm.device}; choose a smaller {' or '.join(_settings_of_size(config))}"
    )


def _settings_of_size(config: ArmConfig) -> list[str]:
    """Return the settings by which the arm's trained parameters and activations grow."""
    growing = ("adapter.hidden", "reconstruction.batch_rows", "blocks.hidden", "blocks.layers", "lora.rank")
    effective = effective_settings(config.identity())
    return [path for path in growing if path in effective]


def _least_bytes(config: ArmConfig, lm: LanguageModel) -> int:
    """Return a lower bound of what training takes besides the model: parameters with their state, and the adapter's
    activations for one batch of rows."""
    total = _BYTES_PER_PARAMETER * trained_parameters(config, lm)
    if config.input == "adapter" and config.reconstruction.steps != 0 and config.reconstruction.mode == "rows":
        total += 4 * config.reconstruction.batch_rows * config.adapter.hidden
    return total
