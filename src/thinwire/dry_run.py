"""What a sweep would do, without doing it: settings, questions and folder are checked, nothing is trained or written.

The model is chosen but not loaded, so that this needs neither its weights nor a GPU. What only the model can tell is
therefore left to the sweep: whether it has as many layers as an arm adapts, how wide its embeddings are, how many
tokens its prompts take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from thinwire.arm import check_done
from thinwire.codecs import codec_class
from thinwire.config import ArmConfig, Experiment
from thinwire.errors import UsageError
from thinwire.finished import find_arm
from thinwire.fused import group
from thinwire.memory import MOST_FUSED, check_processes
from thinwire.model import choose_device, choose_model
from thinwire.plan import Controls, Planned, plan
from thinwire.records import read_json
from thinwire.report.results import record_folder
from thinwire.splits import Splits
from thinwire.sweep import check_folder
from thinwire.workbench import resolved

State = Literal["done", "unfinished", "to do"]
"""Kept; begun earlier, to be gone on with after its last whole epoch if it had one; not begun."""


@dataclass(frozen=True, kw_only=True)
class Intended:
    """One training as the sweep would run it."""

    name: str
    kind: str
    changes: dict[str, Any]
    """What it changes of the experiment's defaults, by path: ``{"lora.rank": 8}``."""
    questions: dict[str, int]
    """Numbers of training, selection and test questions."""
    steps: int
    """Optimiser steps; 0 where nothing is trained."""
    group: int | None
    """The same number: these may train together. Null for what is done."""
    state: State
    obstacle: str | None
    """Why it is certain to fail."""


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """A sweep as it would run on this machine."""

    name: str
    folder: str
    model: str
    why_this_model: str
    device: str
    baseline: str
    fused_arms: int | str
    runs: list[Intended]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def obstacles(self) -> dict[str, str]:
        """Why trainings are certain to fail, by name."""
        return {run.name: run.obstacle for run in self.runs if run.obstacle}


def dry_run(experiment: Experiment, folder: Path, *, resume: bool = False, controls: Controls = "auto") -> DryRun:
    """Work out what ``run_sweep`` would do with the same arguments.

    Raises:
        UsageError: the sweep would be refused.
    """
    device = choose_device(experiment.model.device)
    check_processes(device, experiment.processes)
    model, reason = choose_model(experiment.model.name, device)
    planned = plan(experiment, (), controls)
    if folder.exists():
        check_folder(folder, experiment, resume)
    runs = [replace(run, config=resolved(run.config, device)) for run in planned]
    splits = Splits(experiment.data, experiment.seed)
    states = {run.name: _state(run, folder, splits) for run in runs}
    most = MOST_FUSED if experiment.fused_arms == "auto" else experiment.fused_arms
    groups = group([run for run in runs if states[run.name] != "done"], most)
    numbers = {run.name: number for number, together in enumerate(groups, start=1) for run in together}
    return DryRun(
        name=experiment.name,
        folder=str(folder),
        model=model,
        why_this_model=reason,
        device=str(device),
        baseline=experiment.baseline,
        fused_arms=experiment.fused_arms,
        runs=[_intended(run, experiment, splits, group=numbers.get(run.name), state=states[run.name]) for run in runs],
    )


def _state(run: Planned, folder: Path, splits: Splits) -> State:
    own = record_folder(folder, run.name, run.kind)
    record = read_json(own / "record.json") if (own / "record.json").exists() else None
    if record and record["status"] == "done":
        check_done(record, run.config, splits.drawn(run.config).hashes)
        return "done"
    return "unfinished" if own.exists() else "to do"


def _intended(run: Planned, experiment: Experiment, splits: Splits, *, group: int | None, state: State) -> Intended:
    config, questions = run.config, splits.drawn(run.config)
    written = (experiment.arms if run.kind == "arm" else experiment.controls)[run.arm]
    seed = {"seed": config.seed} if run.name != run.arm else {}
    steps = config.training.epochs * -(-len(questions.train) // config.training.batch_size)
    return Intended(
        name=run.name,
        kind=run.kind,
        changes=dict(_paths(written)) | seed,
        questions={split: len(examples) for split, examples in vars(questions).items()},
        steps=steps if config.has_trainable else 0,
        group=group,
        state=state,
        obstacle=_obstacle(config),
    )


def _paths(settings: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in settings.items():
        pairs += _paths(value, f"{before}{key}.") if isinstance(value, Mapping) else [(f"{before}{key}", value)]
    return pairs


def _obstacle(config: ArmConfig) -> str | None:
    if config.has_trainable and config.lora.rank > 0 and not config.is_supervised:
        return "lora.rank > 0, but supervision.ce_weight and kd_weight are 0: nothing would train LoRA"
    try:
        if config.reads != "text":
            codec_class(config.codec)
        if config.supervision.kd_weight > 0 and config.supervision.teacher is not None:
            find_arm(Path(config.supervision.teacher))
    except UsageError as error:
        return str(error)
    return None


def drawn(planned: DryRun) -> Group:
    """The same for a terminal."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("configuration", overflow="fold")
    table.add_column("changes", overflow="fold")
    for column in ("steps", "group", "state"):
        table.add_column(column, justify="right", no_wrap=True)
    for run in planned.runs:
        name = run.name if run.kind == "arm" else f"control {run.name}"
        changes = ", ".join(f"{path.removeprefix('lora.')} {value}" for path, value in run.changes.items())
        group = "-" if run.group is None else str(run.group)
        state = "would fail" if run.obstacle else run.state
        table.add_row(*map(escape, (name, changes or "-", f"{run.steps:,}", group, state)))
    left = sum(run.state != "done" for run in planned.runs)
    lines = [
        f"{planned.name}: {left} of {len(planned.runs)} to run into {planned.folder}; nothing was run or written",
        f"model {planned.model} ({planned.why_this_model}) on {planned.device}, not loaded",
        *(f"questions {numbers}" for numbers in dict.fromkeys(map(_numbers, planned.runs))),
        f"baseline {planned.baseline}",
    ]
    notes = [_FUSED.get(planned.fused_arms, f"A group trains together, {planned.fused_arms} arms at most.")]
    notes += [f"{name} would fail: {why}" for name, why in planned.obstacles.items()]
    return Group(*map(escape, lines), table, *map(escape, notes))


_FUSED: dict[int | str, str] = {
    "auto": "A group trains together on a GPU with a small model; elsewhere each trains alone, on a CPU side by side.",
    1: "Each arm trains alone: fused_arms is 1.",
}


def _numbers(run: Intended) -> str:
    return ", ".join(f"{split} {number:,}" for split, number in run.questions.items())
