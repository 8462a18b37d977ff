"""Arms that need other arms of the same sweep: those from which they start LoRA or learn have to be done before."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path

from thinwire.config.experiment import ArmConfig
from thinwire.experiment.plan import Planned
from thinwire.results.layout import arm_folder


def real(path: str | Path) -> Path:
    """Return a path without links; unlike ``Path.resolve``, also where a link leads to itself or no file can be."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # a name that no file can have
        return Path(path)


def by_folder(planned: Iterable[Planned], folder: Path) -> dict[Path, Planned]:
    """Return the runs of the sweep in ``folder`` by their own folders."""
    return {real(arm_folder(folder, run.name, run.kind)): run for run in planned}


def needed(config: ArmConfig, own: Mapping[Path, Planned]) -> frozenset[str]:
    """Return the names of the runs of the same sweep, ``by_folder``, from which an arm starts LoRA or learns."""
    teacher = config.supervision.teacher if config.supervision.kd_weight > 0 else None
    start = config.lora.start_from if config.lora.rank > 0 else None
    sources = {real(source) for source in (teacher, start) if source is not None}
    return frozenset(own[source].name for source in sources & own.keys())


def needing_themselves(needs: Mapping[str, frozenset[str]]) -> set[str]:
    """Return the names of runs that would have to be done before they begin.

    Args:
        needs: names of the runs that each run needs, by its name.
    """

    def all_needed(name: str) -> set[str]:
        found: set[str] = set()
        left = [name]
        while left:
            more = needs[left.pop()] - found
            found |= more
            left += more
        return found

    return {name for name in needs if name in all_needed(name)}


def most_of_a_level(planned: Iterable[Planned]) -> int:
    """Return how many of the runs that train can do so side by side, as none of them needs another."""
    return max(Counter(run.level for run in planned if run.config.has_trainable).values(), default=0)


def with_needs(planned: Sequence[Planned], folder: Path) -> list[Planned]:
    """Return the runs of the sweep in ``folder``, in their order, with what they need; those that need themselves
    cannot be run (``sweep_inputs.obstacles``), and get none."""
    own = by_folder(planned, folder)
    needs = {run.name: needed(run.config, own) for run in planned}
    needs |= dict.fromkeys(needing_themselves(needs), frozenset())
    levels: dict[str, int] = {}
    for name in TopologicalSorter(needs).static_order():
        levels[name] = 1 + max((levels[one] for one in needs[name]), default=-1)
    return [replace(run, needs=needs[run.name], level=levels[run.name]) for run in planned]
