"""Which trainings an experiment asks for: arms with their seeds, and controls."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from thinwire.config import ArmConfig, Experiment

logger = logging.getLogger(__name__)

Kind = Literal["arm", "control"]
Controls = Literal["auto", "all", "none"]

_SMALL_RUN = 500
"""With no more training questions than this, controls that train are left out unless asked for."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One training to be done: an arm with one of its seeds, or a control."""

    name: str
    """Of its folder: the arm's, with the seed behind it where there are several."""
    arm: str
    kind: Kind
    config: ArmConfig
    epochs_done: int = 0
    """By an earlier run that did not get to the end, and left its state."""


def plan(experiment: Experiment, only: Collection[str], controls: Controls) -> list[Planned]:
    """The trainings to do, in the order of the experiment file: arms with each of their seeds, then controls.

    Args:
        only: these alone, controls that train included.
        controls: ``auto`` leaves controls that train out of a run of 500 samples or fewer.

    Raises:
        UsageError: ``only`` names what the experiment does not have.
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
