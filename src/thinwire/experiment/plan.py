"""List the runs of an experiment: arms and controls with their seeds."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.config.idle import AFFECT_NO_RESULT, effective_settings
from thinwire.results.arm_record import Kind
from thinwire.schema import leaves
from thinwire.training.state import Position

logger = logging.getLogger(__name__)

Controls = Literal["auto", "all", "none"]

_SMALL_RUN = 500
"""With at most this many training questions, controls that train are left out unless asked for."""


@dataclass(frozen=True, kw_only=True)
class ResumePoint:
    """A resume point of a run that fits its settings, questions, model and versions."""

    file: Path
    position: Position
    group: str
    """Arms continue together if this is the same (``resume_points.Committed``)."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run to do: an arm or control with one of its seeds."""

    name: str
    """Name of the run and its folder: the arm's name, followed by the seed for all but the first of several seeds."""
    arm: str
    """Name of the arm or control."""
    kind: Kind
    config: ArmConfig
    resume_point: ResumePoint | None = None
    """Where to resume an unfinished run; None to start from the beginning."""
    needs: frozenset[str] = frozenset()
    """Names of the runs of the same sweep that have to be done before."""
    level: int = 0
    """How many runs have to be done before, one after the other; those of one level do not need each other."""


def plan(experiment: Experiment, only: Collection[str], controls: Controls) -> list[Planned]:
    """List the runs in the order of the experiment file: arms with each of their seeds, then controls.

    Controls that train are run with each of the seeds too, the others once.

    Args:
        only: names of arms and controls to run instead of all.
        controls: ``auto`` leaves out controls that train if there are 500 samples or fewer.

    Raises:
        UsageError: ``only`` has a name that the experiment does not have.
    """
    for name in only:
        experiment.arm(name)  # refuses unknown names
    if only:
        arms, references = (
            [name for name in names if name in only] for names in (experiment.arms, experiment.controls)
        )
    else:
        arms, references = list(experiment.arms), _chosen_controls(experiment, controls)
    return [
        *(run for name in arms for run in _with_seeds(name, "arm", experiment)),
        *(run for name in references for run in _with_seeds(name, "control", experiment)),
    ]


def log_notes(experiment: Experiment, only: Collection[str], controls: Controls) -> None:
    """Log what one may not expect of ``plan`` with the same arguments: controls that are left out because there are few
    samples, and what the file says of an arm though it changes nothing there."""
    for name in () if only else _left_out(experiment, controls):
        logger.info("leaving out the control %s: %d samples (--controls all)", name, experiment.data.samples)
    for name in dict.fromkeys(run.arm for run in plan(experiment, only, controls)):
        if idle := _without_effect(experiment, name):
            reads = experiment.arm(name).input
            logger.warning("without effect in %s, whose input is %s: %s", name, reads, ", ".join(idle))


def _without_effect(experiment: Experiment, name: str) -> list[str]:
    """Return the paths of settings that are given for one arm or control, and change nothing in it."""
    given = leaves(experiment.arms.get(name, experiment.controls.get(name, {})))
    effective = effective_settings(experiment.arm(name).model_dump(mode="json"))
    of_no_arm = {f"training.{setting}" for setting in AFFECT_NO_RESULT}
    return [path for path, _ in given if path not in effective and path not in of_no_arm]


def _chosen_controls(experiment: Experiment, controls: Controls) -> list[str]:
    left_out = list(experiment.controls) if controls == "none" else _left_out(experiment, controls)
    return [name for name in experiment.controls if name not in left_out]


def _left_out(experiment: Experiment, controls: Controls) -> list[str]:
    if controls != "auto" or experiment.data.samples > _SMALL_RUN:
        return []
    return [name for name in experiment.controls if experiment.arm(name).learns]


def _with_seeds(name: str, kind: Kind, experiment: Experiment) -> list[Planned]:
    config = experiment.arm(name)
    if kind == "control" and not config.learns:
        return [Planned(name=name, arm=name, kind=kind, config=config)]
    return [
        Planned(
            name=experiment.run_name(name, seed),
            arm=name,
            kind=kind,
            config=config.model_copy(update={"seed": seed}),
        )
        for seed in experiment.seeds or (config.seed,)
    ]
