"""Work out what a sweep would do, checking settings, questions and folder, without training or writing anything.

The model is chosen but not loaded, so neither its weights nor a GPU are needed. Checks that need the model are left to
the sweep: its modules, its embedding width, the number of tokens of its prompts. Its number of layers is read from its
configuration, if it is on this machine. Resume points need the model too: groups are shown as if there were none, and
where arms of a group cannot go on together, the sweep divides it further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from thinwire.config.auto import resolved
from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.data.splits import Splits
from thinwire.data.squad import Example
from thinwire.errors import UsageError
from thinwire.experiment.dependencies import most_of_a_level, with_needs
from thinwire.experiment.executors.worker_process import gpus_for_processes
from thinwire.experiment.group_queue import read_earlier_queue, read_queue
from thinwire.experiment.plan import Controls, Planned, log_notes, plan
from thinwire.experiment.resume import check_folder, finished_record
from thinwire.experiment.scheduling import choose_groups, shared_group_size
from thinwire.experiment.search import choices_hash, plan_candidates, to_search, with_choices
from thinwire.experiment.sweep_inputs import checked_device, needed_too_early, obstacles
from thinwire.model.loading import choose_model, is_on_this_machine
from thinwire.report.caveats import fewer_questions
from thinwire.results.layout import SEARCH_FOLDER, arm_folder
from thinwire.results.search_record import read_search_record
from thinwire.schema import leaves
from thinwire.stats.small_samples import refusal
from thinwire.tasks.table import TASKS

State = Literal["done", "unfinished", "to do"]
"""``done``: kept; ``unfinished``: started earlier, resumed from its resume point if there is one; ``to do``."""


@dataclass(frozen=True, kw_only=True)
class DryRunEntry:
    """One run as the sweep would do it."""

    name: str
    kind: str
    changes: dict[str, Any]
    """Its changes to the experiment's defaults, by path: ``{"lora.rank": 8}``."""
    questions: dict[str, int]
    """Numbers of training, selection and test questions."""
    steps: int
    """Optimiser steps; 0 if nothing is trained."""
    passages: int
    """Passages that are written out of blocks before these steps; 0 without text reconstruction."""
    group: int | None
    """Number of its group: runs with the same number may train together, unless they have resume points that differ.
    None for finished runs."""
    needs: list[str]
    """Names of the runs that have to be done before."""
    state: State
    obstacle: str | None
    """Why it is certain to fail; None if it is not."""


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """The plan of a sweep on this machine."""

    name: str
    folder: str
    model: str
    why_this_model: str
    model_is_here: bool
    """Whether nothing of the model has to be fetched."""
    device: str
    baseline: str
    group_size: int | str
    num_workers: int
    """Workers with a GPU each that run groups side by side; 0 on a CPU."""
    test_source: str
    """Where the test questions come from: ``data.test_articles=40 of data.train=squad``."""
    fewer_questions: list[str]
    """Which splits have fewer questions than were asked for, or too few for a verdict, in words."""
    runs: list[DryRunEntry]
    candidates: dict[str, int]
    """Number of candidates that the search of settings would train first, by arm or control."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def obstacles(self) -> dict[str, str]:
        """The reasons why runs are certain to fail, by name."""
        return {run.name: run.obstacle for run in self.runs if run.obstacle}


def dry_run(
    experiment: Experiment,
    folder: Path,
    *,
    resume: bool = False,
    controls: Controls = "auto",
    num_workers: int | None = None,
    splits: Splits | None = None,
) -> DryRun:
    """Work out what ``run_sweep`` would do with the same arguments.

    Args:
        num_workers: workers with a GPU each that a scheduler is to start; None for those of this host.
        splits: the experiment's, where its questions are read already.

    Raises:
        UsageError: the sweep would be refused.
    """
    device = checked_device(experiment)
    model, reason = choose_model(experiment.model.name, device)
    planned = plan(experiment, (), controls)
    check_folder(folder, experiment, resume)
    log_notes(experiment, (), controls)
    known = read_search_record(folder)
    searched = to_search(experiment, [run.arm for run in planned], known)
    candidates = plan_candidates(experiment, list(searched), known)
    chosen = with_choices(experiment, planned, known)
    runs = with_needs([replace(run, config=resolved(run.config, device.type)) for run in chosen], folder)
    columns = experiment.data.columns
    blocked = obstacles(runs, folder, columns, model)
    wrong = obstacles(candidates, folder / SEARCH_FOLDER, columns, model) | needed_too_early(candidates, runs, folder)
    if wrong:
        raise UsageError(*(f"{name} would fail: {why}" for name, why in wrong.items()))
    splits = splits or Splits(experiment.data, experiment.seed, TASKS[experiment.task])
    states = {run.name: _state(run, folder, splits) for run in runs}
    left = [run for run in runs if states[run.name] != "done"]
    num_gpus = num_workers or len(gpus_for_processes(experiment.model.device, experiment.worker_processes))
    shared = shared_group_size(most_of_a_level(runs), num_gpus)
    most = shared if experiment.group_size == "auto" else experiment.group_size
    # A search that is not over makes choices that no earlier session had.
    earlier = None if candidates else read_queue(folder) or read_earlier_queue(folder)
    if experiment.group_size == "auto" and earlier and earlier.group_size == 1:
        most = 1  # what auto became where the session before ran; only the loaded model tells for sure
    groups = choose_groups(left, most, choices_hash(known), earlier)
    numbers = {run.name: number for number, together in enumerate(groups, start=1) for run in together}
    return DryRun(
        name=experiment.name,
        folder=str(folder),
        model=model,
        why_this_model=reason,
        model_is_here=is_on_this_machine(model),
        device=str(device),
        baseline=experiment.baseline,
        group_size=experiment.group_size,
        num_workers=num_gpus,
        test_source=splits.test_source,
        fewer_questions=_fewer_questions(runs, experiment, splits),
        runs=[
            _entry(run, experiment, splits, numbers.get(run.name), states[run.name], blocked.get(run.name))
            for run in runs
        ],
        candidates={name: len(found) for name, found in searched.items()},
    )


def _state(run: Planned, folder: Path, splits: Splits) -> State:
    if finished_record(run, folder, splits.drawn(run.config.evaluation).hashes):
        return "done"
    return "unfinished" if arm_folder(folder, run.name, run.kind).exists() else "to do"


def _fewer_questions(runs: Sequence[Planned], experiment: Experiment, splits: Splits) -> list[str]:
    found = []
    for evaluation in dict.fromkeys(run.config.evaluation for run in runs):
        drawn = splits.drawn(evaluation)
        found += [
            fewer_questions("training", "data.samples", experiment.data.samples, len(drawn.train)),
            fewer_questions(
                "selection", "evaluation.selection_samples", evaluation.selection_samples, len(drawn.selection)
            ),
            fewer_questions("test", "evaluation.samples", evaluation.samples, len(drawn.test)),
            _no_interval(drawn.test),
        ]
    return [line for line in dict.fromkeys(found) if line]


def _no_interval(test: Sequence[Example]) -> str | None:
    """Say that the test questions are about too few paragraphs for a verdict; None where they are not."""
    sizes = np.array(list(Counter(example.paragraph_id for example in test).values()), dtype=np.float64)
    why = refusal(sizes)
    return f"no arm can be judged by {why}" if why else None


def _entry(
    run: Planned, experiment: Experiment, splits: Splits, group: int | None, state: State, obstacle: str | None
) -> DryRunEntry:
    config, questions = run.config, splits.drawn(run.config.evaluation)
    changes = (experiment.arms if run.kind == "arm" else experiment.controls)[run.arm]
    seed = {"seed": config.seed} if run.name != run.arm else {}
    steps = config.training.epochs * config.training.steps_per_epoch(len(questions.train))
    return DryRunEntry(
        name=run.name,
        kind=run.kind,
        changes=dict(leaves(changes)) | seed,
        questions={split: len(getattr(questions, split)) for split in ("train", "selection", "test")},
        steps=steps if config.has_trainable else 0,
        passages=_passages(config),
        group=group,
        needs=sorted(run.needs),
        state=state,
        obstacle=obstacle,
    )


def _passages(config: ArmConfig) -> int:
    return config.blocks.reconstruction.num_passages if config.reconstructs_text else 0


def _text_reconstruction(runs: Sequence[DryRunEntry]) -> list[str]:
    """Say which runs learn to write texts first, a line for each number of passages."""
    learners: dict[int, list[str]] = {}
    for run in runs:
        if run.passages and run.state != "done":
            learners.setdefault(run.passages, []).append(run.name)
    return [
        f"first {passages:,} passages to be written out of blocks (blocks.reconstruction): {', '.join(names)}"
        for passages, names in learners.items()
    ]


def render_dry_run(planned: DryRun) -> Group:
    """Format a dry run for a terminal."""
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
        f"model {planned.model} ({planned.why_this_model}) on {planned.device}, {_where_it_is(planned)}",
        *(f"questions {numbers}" for numbers in dict.fromkeys(map(_numbers, planned.runs))),
        *planned.fewer_questions,
        f"test questions from {planned.test_source}",
        f"baseline {planned.baseline}",
        *_text_reconstruction(planned.runs),
    ]
    if planned.candidates:
        total, most = sum(planned.candidates.values()), max(planned.candidates.values())
        lines.append(
            f"search: first {total} candidates of {len(planned.candidates)} arms and controls, at most {most} for each"
        )
    notes = [_GROUP_NOTES.get(planned.group_size, f"A group trains together, {planned.group_size} arms at most.")]
    if planned.num_workers > 1:
        notes.append(f"{planned.num_workers} workers run groups side by side, the longest first.")
    is_left = {run.name: run.state != "done" for run in planned.runs}
    needs = {run.name: [name for name in run.needs if is_left[name]] for run in planned.runs if is_left[run.name]}
    notes += [f"{name} waits for {', '.join(before)}." for name, before in needs.items() if before]
    notes += [f"{name} would fail: {why}" for name, why in planned.obstacles.items()]
    return Group(*map(escape, lines), table, *map(escape, notes))


def _where_it_is(planned: DryRun) -> str:
    return "not loaded" if planned.model_is_here else "not on this machine: the sweep would fetch it"


_GROUP_NOTES: dict[int | str, str] = {
    "auto": "A group trains together on a GPU with a small model; elsewhere each trains alone, on a CPU side by side.",
    1: "Each arm trains alone: group_size is 1.",
}


def _numbers(run: DryRunEntry) -> str:
    return ", ".join(f"{split} {number:,}" for split, number in run.questions.items())
