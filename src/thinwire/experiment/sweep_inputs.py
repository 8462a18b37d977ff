"""Read and check all that a sweep needs before a model is loaded and anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import torch

from thinwire.cache import cache_dir
from thinwire.checkpoints.load import check_arm, check_has_matrix, check_same_lora, find_arm
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
from thinwire.experiment.dependencies import by_folder, needed, needing_themselves, real
from thinwire.experiment.disk_space import trained_parameters
from thinwire.experiment.plan import Planned
from thinwire.experiment.scheduling import check_worker_processes
from thinwire.experiment.search import plan_candidates, with_choices
from thinwire.inputs import check_path
from thinwire.model.first_layers import check_first_layers
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import check_base_bits, choose_device, num_layers
from thinwire.model.lora_modules import adapted_modules
from thinwire.model.memory import free_memory
from thinwire.results.arm_record import has_arm_record, read_arm_record
from thinwire.results.search_record import read_search_record
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
    known = read_search_record(folder)
    chosen = with_choices(experiment, planned, known)
    candidates = plan_candidates(experiment, [run.arm for run in planned], known)
    found = obstacles(chosen, folder, experiment.data.columns) | needed_too_early(candidates, planned, folder)
    if found:
        raise UsageError(*(f"{name} would fail: {why}" for name, why in found.items()))
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
    own = by_folder(planned, folder)
    circular = needing_themselves({run.name: needed(run.config, own) for run in planned})
    counted = any(run.config.lora.rank > 0 and run.config.lora.layers != "all" for run in planned)
    depth = num_layers(model) if model is not None and counted else None
    found = {run.name: _obstacle(run.config, own, columns, depth) for run in planned}
    return {name: why or _NEEDS_ITSELF for name, why in found.items() if why or name in circular}


_NEEDS_ITSELF = (
    "it would have to be done before it can begin, as it needs itself, or an arm that needs it (lora.start_from, "
    "supervision.teacher); name another arm"
)


def needed_too_early(candidates: Sequence[Planned], planned: Sequence[Planned], folder: Path) -> dict[str, str]:
    """Return which candidates of a search need arms of the sweep in ``folder`` that are trained after it, in words."""
    later = {place: run for place, run in by_folder(planned, folder).items() if not _is_done(place)}
    needs = {one.name: sorted(needed(one.config, later)) for one in candidates}
    return {
        name: f"it needs {', '.join(names)}, which is trained after the search (lora.start_from, supervision.teacher); "
        "train it first, by `thinwire train` into the same folder, and go on with --resume"
        for name, names in needs.items()
        if names
    }


def _is_done(folder: Path) -> bool:
    return has_arm_record(folder) and read_arm_record(folder).status == "done"


def _obstacle(config: ArmConfig, own: Mapping[Path, Planned], columns: ColumnsConfig, depth: int | None) -> str | None:
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
            if (taught_by := own.get(real(teacher))) is not None:
                check_has_matrix(teacher, taught_by.config)
            else:
                from_arm = find_arm(teacher)
                check_has_matrix(from_arm.folder, from_arm.config)
                check_arm(from_arm)
        if config.lora.rank > 0 and config.lora.start_from is not None:
            start = check_path(config.lora.start_from, "starting LoRA (lora.start_from)")
            if (before := own.get(real(start))) is not None:
                check_same_lora(start, before.config.lora, config.lora)
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
