"""The options of executors, and the commands for the workers of a run: work, status, cancel."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thinwire.cli.arguments import Command, existing_folder
from thinwire.cli.options import AsJson, console, log_messages, make_console, progress_display
from thinwire.errors import ThinwireError, UsageError
from thinwire.progress import wants_plain

if TYPE_CHECKING:  # torch and transformers take seconds to import, so commands import them only if needed
    from thinwire.config.experiment import Experiment
    from thinwire.experiment.plan import Controls

workers_app = typer.Typer()

_WATCH_SECONDS = 5.0

Run = Annotated[
    Path, typer.Argument(help="The folder of a sweep, e.g. runs/phase1a_lora_sweep.", callback=existing_folder("run"))
]
Executor = Annotated[
    str, typer.Option(help="local (all GPUs, or the cores, of this host), slurm (an array of jobs) or ray.")
]
NumWorkers = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="With slurm or ray: how many workers, with one GPU each.")
]
SlurmOptions = Annotated[
    list[str] | None,
    typer.Option("--slurm", metavar="KEY=VALUE", help="Option of sbatch, e.g. partition=gpu or time=04:00:00."),
]
RayAddress = Annotated[
    str | None, typer.Option(help="Address of a Ray cluster; by default one is started on this host.")
]


@dataclass(frozen=True)
class Submission:
    """How a sweep is handed to a scheduler."""

    executor: str
    workers: int | None
    options: dict[str, str]
    address: str | None


def submission_of(
    executor: str, workers: int | None, slurm: list[str] | None, ray_address: str | None
) -> Submission | None:
    """Check the options of executors; returns None for the local one.

    Raises:
        UsageError: an option is of another executor, or has no value.
    """
    if executor not in ("local", "slurm", "ray"):
        raise UsageError(f"--executor takes local, slurm or ray, got {executor!r}")
    if executor == "local" and workers is not None:
        raise UsageError("--workers is for --executor slurm or ray; on this host worker_processes is the setting")
    if executor != "slurm" and slurm:
        raise UsageError(f"--slurm is for --executor slurm, not {executor}")
    if executor != "ray" and ray_address is not None:
        raise UsageError(f"--ray-address is for --executor ray, not {executor}")
    if executor == "slurm" and workers is None:
        raise UsageError("--executor slurm needs --workers N: how many elements the array has, with one GPU each")
    options: dict[str, str] = {}
    for one in slurm or ():
        key, sign, value = one.partition("=")
        if not (key and sign and value):
            raise UsageError(f"--slurm takes KEY=VALUE, such as partition=gpu, got {one!r}")
        name = key.replace("-", "_")
        if name in options:
            raise UsageError(f"--slurm gives {name} twice, {options[name]!r} and {value!r}; take one out")
        options[name] = value
    return None if executor == "local" else Submission(executor, workers, options, ray_address)


def check_submission(experiment: Experiment, submission: Submission) -> None:
    """Check what can be checked of a submission where its scheduler need not be.

    Raises:
        UsageError: the executor cannot run the experiment, or an option of sbatch cannot be used.
    """
    from thinwire.config.settings import AUTO_MAP

    if submission.executor == "slurm":
        from thinwire.experiment.executors.slurm import check_options

        check_options(submission.options)
    elif experiment.model.device == AUTO_MAP:
        raise UsageError(
            f"model.device={AUTO_MAP} divides a model among GPUs, but a worker of --executor ray has one; use "
            "--executor local, or slurm with several GPUs for each element (--slurm gpus_per_node=N)"
        )


def submit(
    experiment: Experiment,
    folder: Path,
    submission: Submission,
    *,
    resume: bool,
    controls: Controls,
    track: Collection[str] = (),
) -> bool:
    """Hand a sweep to a scheduler; returns whether it has ended, and not only begun.

    Raises:
        UsageError: the scheduler is missing or refuses it, or the sweep itself would be refused.
        ThinwireError: a worker could not go on.
        StorageError: a file cannot be written.
    """
    from thinwire.experiment.executors import peer

    check_submission(experiment, submission)
    on_gpu = experiment.model.device != "cpu"
    asked = partial(peer.ask, experiment, folder, resume=resume, controls=controls, track=track)
    if submission.executor == "ray":
        from thinwire.experiment.executors.ray import check_ray, connected

        check_ray()
        with progress_display(), connected(submission.address) as cluster:
            workers = submission.workers or cluster.num_workers(on_gpu=on_gpu)
            asked(num_workers=workers)
            cluster.run(folder, workers, on_gpu=on_gpu)
        return True
    from thinwire.experiment.executors import slurm

    assert submission.workers is not None, "checked with the options"
    with log_messages():
        slurm.check_slurm()
        is_new = not folder.exists()
        asked(num_workers=submission.workers)
        try:
            job = slurm.submit(folder, submission.workers, submission.options, on_gpu=on_gpu)
        except UsageError:
            if is_new:
                shutil.rmtree(folder)
            raise
    console.print(
        f"submitted job {job} with {submission.workers} workers\n"
        f"  thinwire status {folder} --watch\n  thinwire cancel {folder}\n  messages: {folder / peer.LOGS}",
        soft_wrap=True,
    )
    return False


@workers_app.command(cls=Command)
def work(run: Run) -> None:
    """Join a run as one more worker, from any host that sees its folder, until all of its arms have ended.

    For schedulers without an executor: start it as often as there are GPUs, each with one GPU visible.
    """
    from thinwire.experiment.executors.peer import run_peer

    records = run_peer(run)
    if failed := [record.name for record in records if record.status != "done"]:
        raise ThinwireError(f"{len(failed)} of {len(records)} failed: {', '.join(failed)}; see their training_*.log")


@workers_app.command(cls=Command)
def status(
    run: Run,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every few seconds, until nobody goes on with the run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the workers of a run do: arms done, running where, waiting, failed; time left.

    It reads the folder, so it works from any host that sees it, and also while the run goes on.
    """
    from thinwire.experiment.status import name_of_score, read_status, render_status

    if watch and as_json:
        raise UsageError("--watch shows a table again and again, --json prints one state; take one out")
    found = read_status(run)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
        return
    out, metric = make_console(width=120), name_of_score(run)
    out.print(render_status(found, metric), highlight=False)
    while watch and found.outcome is None:
        time.sleep(_WATCH_SECONDS)
        found = read_status(run)
        if out.is_terminal and not wants_plain():
            out.clear()
        out.print(render_status(found, metric), highlight=False)


@workers_app.command(cls=Command)
def cancel(run: Run) -> None:
    """Stop the workers of a run, wherever they are: arms keep their resume points, and --resume goes on."""
    from thinwire.experiment.executors.cancel import cancel as cancel_run

    with log_messages():
        stopped = cancel_run(run)
    typer.echo(f"{stopped} workers have stopped; `thinwire sweep ... --resume` goes on")
