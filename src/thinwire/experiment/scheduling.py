"""Group arms that train together, and choose the number of worker processes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch

from thinwire.config.experiment import ArmConfig
from thinwire.errors import UsageError
from thinwire.experiment.plan import Planned
from thinwire.model.language_model import LanguageModel
from thinwire.model.lora import breadth
from thinwire.model.memory import MEMORY_SHARE, free_memory, leaves_a_gpu_idle, training_bytes_per_token

_PROCESS_FLOPS = 2.4e13
"""Training operations that justify another process: it takes a minute of one core before it trains, for importing,
loading and compiling (docs/performance/README.md)."""


_PROCESS_BYTES = 2**30
"""Memory of a process besides its model and its micro-batches: Python, torch, compiled code."""


_PROCESS_TOKENS = 2_048
"""Tokens of a micro-batch for which a process should have memory: one of four times as many is hardly faster."""


MAX_GROUP_SIZE = 16
"""Maximum number of arms that train together where one arm's step does not fill a GPU."""


def max_group_size(lm: LanguageModel, setting: int | str) -> int:
    """Return the maximum group size, with ``auto`` resolved."""
    if isinstance(setting, int):
        return setting
    return MAX_GROUP_SIZE if leaves_a_gpu_idle(lm) else 1


def check_worker_processes(device: torch.device, setting: int | str) -> None:
    """Refuse several processes where arms do not run side by side.

    Raises:
        UsageError: ``device`` is not a CPU.
    """
    if device.type != "cpu" and setting not in ("auto", 1):
        raise UsageError(
            f"worker_processes={setting} is for arms on a CPU; on {device} they train together (group_size) "
            "or one after the other: leave it at auto"
        )


def num_worker_processes(lm: LanguageModel, setting: int | str, *, num_groups: int, num_tokens: int) -> int:
    """Return the number of worker processes for ``num_groups`` groups of arms, with ``auto`` resolved.

    ``auto`` on a CPU is as many as have a core, enough memory and enough to train.

    Args:
        num_tokens: tokens that all arms together train on.

    Raises:
        UsageError: several are asked for on another device.
    """
    check_worker_processes(lm.device, setting)
    if lm.device.type != "cpu":
        return 1
    if isinstance(setting, int):
        return min(setting, num_groups)
    size = sum(parameter.numel() for parameter in lm.model.parameters())
    taken = size * lm.dtype.itemsize + _PROCESS_TOKENS * training_bytes_per_token(lm, compiled=False) + _PROCESS_BYTES
    fit, pay = int(MEMORY_SHARE * free_memory(lm.device) / taken), int(4.0 * size * num_tokens / _PROCESS_FLOPS)
    return max(1, min(num_groups, torch.get_num_threads(), fit, pay))


def can_train_together(one: ArmConfig, other: ArmConfig) -> bool:
    """Return whether two arms see the same questions in the same order, and differ only in settings that each arm has
    alone."""
    shared = _shared(one)
    return shared is not None and shared == _shared(other) and _limits(one).allow(_limits(other))


def _shared(arm: ArmConfig) -> Hashable | None:
    """Return what is the same for all arms that train together; None for an arm that trains alone."""
    if not (arm.has_trainable and arm.is_supervised):
        return None
    may_differ = {"adapter_lr", "lora_lr", "warmup_steps", "weight_decay", "clip_norm"}
    return arm.seed, arm.context, arm.prompt, tuple(arm.training.model_dump(exclude=may_differ).items())


@dataclass(frozen=True)
class _Limits:
    """Settings of which a group has one at most, among the arms that have any."""

    teachers: frozenset[str | None]
    dropouts: frozenset[float]

    def allow(self, other: _Limits) -> bool:
        return len(self.teachers | other.teachers) <= 1 and len(self.dropouts | other.dropouts) <= 1

    def __or__(self, other: _Limits) -> _Limits:
        return _Limits(self.teachers | other.teachers, self.dropouts | other.dropouts)


def _limits(arm: ArmConfig) -> _Limits:
    return _Limits(
        frozenset({arm.supervision.teacher} if arm.supervision.kd_weight > 0 else ()),
        frozenset({arm.lora.dropout} if arm.lora.rank > 0 else ()),
    )


@dataclass
class _Together:
    """Arms that can train together, and the limits of all of them."""

    runs: list[Planned]
    limits: _Limits


def group(planned: Sequence[Planned], most: int) -> list[list[Planned]]:
    """Divide arms into groups that can train together, of at most ``most`` arms and of about equal size.

    A few arms take a GPU hardly less time than some more. Within a group, arms whose LoRA adapts the most come first.
    """
    compatible: list[_Together] = []
    by_shared: dict[Hashable, list[_Together]] = {}
    for run in planned:
        shared, limits = _shared(run.config), _limits(run.config)
        alike = [] if shared is None else by_shared.setdefault((run.epochs_done, shared), [])
        found = next((one for one in alike if one.limits.allow(limits)), None)
        if found is None:
            found = _Together([], limits)
            compatible.append(found)
            alike.append(found)
        found.runs.append(run)
        found.limits |= limits
    return [part for together in compatible for part in _split_evenly(together.runs, most)]


def _split_evenly(members: list[Planned], most: int) -> Iterator[list[Planned]]:
    num_parts = -(-len(members) // most)
    for part in range(num_parts):
        runs = members[part * len(members) // num_parts : (part + 1) * len(members) // num_parts]
        yield sorted(runs, key=lambda run: breadth(run.config.lora), reverse=True)
