"""List the runs of an experiment: arms with their seeds, and controls."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.results.arm_record import Kind

logger = logging.getLogger(__name__)

Controls = Literal["auto", "all", "none"]

_SMALL_RUN = 500
"""With at most this many training questions, controls that train are left out unless asked for."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run to do: an arm with one of its seeds, or a control."""

    name: str
    """Name of the run and its folder: the arm's name, followed by the seed for all but the first of several seeds."""
    arm: str
    kind: Kind
    config: ArmConfig
    epochs_done: int = 0
    """Complete epochs of an unfinished run to resume from."""


def plan(experiment: Experiment, only: Collection[str], controls: Controls) -> list[Planned]:
    """List the runs in the order of the experiment file: arms with each of their seeds, then controls.

    Args:
        only: names of arms and controls to run instead of all.
        controls: ``auto`` leaves out controls that train if there are 500 samples or fewer.

    Raises:
        UsageError: ``only`` has a name that the experiment does not have.
    """
    for name in only:
        experiment.arm(name)  # refuses unknown names
    everything = [
        *(run for name in experiment.arms for run in _with_seeds(name, experiment)),
        *(Planned(name=name, arm=name, kind="control", config=experiment.arm(name)) for name in experiment.controls),
    ]
    if only:
        return [run for run in everything if run.arm in only]
    small = experiment.data.samples <= _SMALL_RUN
    chosen = []
    for run in everything:
        trains = run.config.has_trainable
        if run.kind == "control" and (controls == "none" or (controls == "auto" and small and trains)):
            if controls == "auto":
                logger.info(
                    "leaving out the control %s: %d samples (--controls all)", run.name, experiment.data.samples
                )
            continue
        chosen.append(run)
    return chosen


def _with_seeds(name: str, experiment: Experiment) -> list[Planned]:
    config = experiment.arm(name)
    first, *others = experiment.seeds or (config.seed,)
    return [
        Planned(name=run_name, arm=name, kind="arm", config=config.model_copy(update={"seed": seed}))
        for run_name, seed in [(name, first), *((f"{name}-seed{seed}", seed) for seed in others)]
    ]
