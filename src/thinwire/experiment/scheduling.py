"""Group arms that train together, and choose the number of worker processes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch

from thinwire.config.experiment import ArmConfig
from thinwire.config.idle import AFFECT_NO_RESULT
from thinwire.errors import UsageError
from thinwire.experiment.group_queue import GroupQueue
from thinwire.experiment.plan import Planned
from thinwire.model.language_model import LanguageModel
from thinwire.model.lora import breadth
from thinwire.model.memory import MEMORY_SHARE, free_memory, leaves_a_gpu_idle, training_bytes_per_token
from thinwire.ops.device import visible_gpus

_PROCESS_FLOPS = 2.4e13
"""Training operations that justify another process: it takes a minute of one core before it trains, for importing,
loading and compiling (docs/performance/README.md)."""


_PROCESS_BYTES = 2**30
"""Memory of a process besides its model and its micro-batches: Python, torch, compiled code."""


_PROCESS_TOKENS = 2_048
"""Tokens of a micro-batch for which a process should have memory: one of four times as many is hardly faster."""


MAX_GROUP_SIZE = 16
"""Maximum number of arms that train together where one arm's step does not fill a GPU."""


def max_group_size(lm: LanguageModel, setting: int | str, *, num_arms: int, num_workers: int) -> int:
    """Return the maximum group size, with ``auto`` resolved.

    Args:
        num_arms: arms that can train side by side.
        num_workers: workers that share them, with a GPU each.
    """
    if isinstance(setting, int):
        return setting
    return shared_group_size(num_arms, num_workers) if leaves_a_gpu_idle(lm) else 1


def shared_group_size(num_arms: int, num_workers: int) -> int:
    """Return the maximum size of groups such that each of ``num_workers`` workers gets one."""
    return max(1, min(MAX_GROUP_SIZE, -(-num_arms // max(1, num_workers))))


def check_worker_processes(device: torch.device, setting: int | str) -> None:
    """Refuse more processes than GPUs, where arms run on GPUs.

    Raises:
        UsageError: ``setting`` is greater than the number of GPUs.
    """
    num_gpus = len(visible_gpus()) if device.index is None else 1
    if device.type == "cuda" and isinstance(setting, int) and setting > num_gpus:
        raise UsageError(
            f"worker_processes={setting}, but on {device} {num_gpus} can run side by side, one a GPU; a GPU trains "
            "arms together (group_size) or one after the other: leave it at auto"
        )


def num_worker_processes(lm: LanguageModel, setting: int | str, *, num_groups: int, num_tokens: int) -> int:
    """Return the number of worker processes on a CPU for ``num_groups`` groups of arms, with ``auto`` resolved: as many
    as have a core, enough memory and enough to train.

    Args:
        num_tokens: tokens that all arms together train on.
    """
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
    training = arm.training.model_dump(exclude=may_differ | AFFECT_NO_RESULT)
    return arm.seed, arm.context, arm.prompt, arm.block_kind, tuple(training.items())


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


def longest_first(groups: Sequence[list[Planned]], num_tokens: Callable[[Planned], int]) -> list[list[Planned]]:
    """Sort groups by the tokens that they train on, and those alike by how much LoRA adapts, so that processes that run
    side by side end at about the same time. Those that need others come after them."""

    def length(together: Sequence[Planned]) -> tuple[int, int, tuple[float, int, int]]:
        adapted = ((*breadth(run.config.lora), run.config.lora.rank) for run in together)
        return -together[0].level, sum(map(num_tokens, together)), max(adapted)

    return sorted(groups, key=length, reverse=True)


@dataclass
class _Together:
    """Arms that can train together, and the limits of all of them."""

    runs: list[Planned]
    limits: _Limits


def group(planned: Sequence[Planned], most: int) -> list[list[Planned]]:
    """Divide arms into groups that can train together, of at most ``most`` arms and of about equal size.

    A few arms take a GPU hardly less time than some more. Within a group, arms whose LoRA adapts the most come first.
    An arm that needs another one is in no group with it, and in a later one.
    """
    compatible: list[_Together] = []
    by_shared: dict[Hashable, list[_Together]] = {}
    for run in planned:
        shared, limits = _shared(run.config), _limits(run.config)
        point = run.resume_point
        start = (point.group, point.position) if point else None
        alike = [] if shared is None else by_shared.setdefault((run.level, start, shared), [])
        found = next((one for one in alike if one.limits.allow(limits)), None)
        if found is None:
            found = _Together([], limits)
            compatible.append(found)
            alike.append(found)
        found.runs.append(run)
        found.limits |= limits
    groups = [part for together in compatible for part in _split_evenly(together.runs, most)]
    return sorted(groups, key=lambda together: together[0].level)


def choose_groups(left: Sequence[Planned], most: int, choices: str, earlier: GroupQueue | None) -> list[list[Planned]]:
    """Divide the arms that are left into groups: those of an earlier session if they still hold, because arms in other
    groups would round differently; else anew.

    Args:
        left: arms that are not done; those that have a resume point train together with others of the same one alone.
        most: maximum group size.
        choices: hash of what a search has chosen (``search.choices_hash``).
        earlier: the groups of the session before; None if there was none.
    """
    if earlier and earlier.covers(left) and (earlier.choices, earlier.group_size) == (choices, most):
        groups = earlier.of(left)
        if all(len({run.level for run in together}) == 1 for together in groups):
            return groups
    return group(left, most)


def _split_evenly(members: list[Planned], most: int) -> Iterator[list[Planned]]:
    num_parts = -(-len(members) // most)
    for part in range(num_parts):
        runs = members[part * len(members) // num_parts : (part + 1) * len(members) // num_parts]
        yield sorted(runs, key=lambda run: breadth(run.config.lora), reverse=True)
