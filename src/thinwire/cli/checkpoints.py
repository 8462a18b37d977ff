"""The commands for a trained arm: evaluate and export."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from thinwire.cli.arguments import Command, output_file, output_folder
from thinwire.cli.options import (
    AsJson,
    Columns,
    Mismatched,
    Unanswerable,
    chosen_columns,
    console,
    log_messages,
    mismatched_choice,
    progress_display,
    unanswerable_choice,
)
from thinwire.config.settings import EvaluationConfig, ModelConfig, PromptConfig
from thinwire.errors import UsageError, shown
from thinwire.inputs import check_path
from thinwire.schema import build

checkpoints_app = typer.Typer()

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or auto_map.")]


@checkpoints_app.command(cls=Command)
def evaluate(
    target: Annotated[str, typer.Argument(help="An arm's folder (runs/SWEEP/ARM), or a bare model (input: text).")],
    data: Annotated[str, typer.Option(help="squad, a data file, or a Hugging Face dataset.")] = "squad",
    samples: Annotated[str, typer.Option(help="How many questions, drawn by seed, or all.")] = "100",
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Write {question id: answer} here.", callback=output_file("predictions file")),
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="Prompt style of a bare model: auto, chat or plain. [default: auto]")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task of a bare model; an arm has its own. [default: extractive_qa]")
    ] = None,
    device: Device = "auto",
    unanswerable: Unanswerable = "refuse",
    mismatched: Mismatched = "refuse",
    columns: Columns = None,
    as_json: AsJson = False,
) -> None:
    """Score an arm's checkpoint, or a bare model, on any questions."""
    from thinwire.checkpoints.evaluate import evaluate_target, is_arm, task_of
    from thinwire.tasks.table import checked_task

    check_path(target, "model or arm's folder")
    of_bare_model = checked_task("extractive_qa" if task is None else task)
    if samples != "all" and not re.fullmatch(r"0*[1-9]\d{0,11}", samples, re.ASCII):
        raise UsageError(f"--samples takes a positive number or all, got {shown(samples)}")
    prompt = build(PromptConfig, {"style": "auto" if style is None else style}, where="prompt")
    for name, given in (("--style", style), ("--task", task)):
        if given is not None and is_arm(target):
            raise UsageError(f"{name} is for a bare model, and {target} is an arm, which has its own; leave it out")
    if predictions is not None:
        _check_holds_predictions(predictions)
    with progress_display() as display:
        scores, answers = evaluate_target(
            target,
            data=data,
            num=None if samples == "all" else int(samples),
            seed=seed,
            model=build(ModelConfig, {"name": target, "device": device}, where="model"),
            prompt=prompt,
            evaluation=EvaluationConfig(),
            task=of_bare_model,
            unanswerable=unanswerable_choice(unanswerable),
            mismatched=mismatched_choice(mismatched),
            columns=chosen_columns(columns),
            display=display,
        )
    if samples != "all" and scores.n < int(samples):
        console.print(f"{samples} questions were asked for, {data} has {scores.n}")
    if predictions:
        from thinwire.files import write_json

        write_json(predictions, answers)
    if as_json:
        typer.echo(scores.model_dump_json())
    else:
        asked = task_of(target, of_bare_model)
        exact = f"  EM {100 * scores.exact_match:.2f}" if asked.shows_exact_match else ""
        typer.echo(f"{asked.label} {100 * scores.score:.2f}{exact}  {scores.n} questions")


def _check_holds_predictions(path: Path) -> None:
    """Refuse to overwrite a file, such as that of the data, unless it is empty or holds what a command wrote there."""
    from thinwire.evaluation.predictions_file import read_predictions

    if path.exists() and path.stat().st_size:
        try:
            read_predictions(path)
        except UsageError as error:
            raise UsageError(
                f"{path} is not overwritten, as it holds no predictions ({error}); name another file"
            ) from None


@checkpoints_app.command(cls=Command)
def export(
    arm: Annotated[Path, typer.Argument(help="An arm's folder: runs/SWEEP/ARM.")],
    target: Annotated[
        Path,
        typer.Argument(help="The folder to write.", callback=output_folder("export's folder")),
    ],
    form: Annotated[str, typer.Option("--format", help="transformers, peft or gguf.")] = "transformers",
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="Upload the folder to this model of the Hugging Face hub.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the uploaded model for its owners alone.")] = False,
) -> None:
    """Write an arm for transformers (embeddings replaced, LoRA merged), peft or llama.cpp, with a model card."""
    from thinwire.checkpoints.load import find_arm
    from thinwire.export.hub import check_push, push
    from thinwire.export.write import checked_format
    from thinwire.export.write import export as export_arm

    check_path(arm, "arm's folder")
    wanted = checked_format(form)
    if private and push_to_hub is None:
        raise UsageError("--private is for --push-to-hub, which is not given; leave it out")
    if push_to_hub is not None:
        check_push(push_to_hub)
    with log_messages():
        exported = export_arm(find_arm(arm, device="cpu"), target, wanted)
    console.print(f"{wanted}: {target}, {exported.num_bytes / 1e6:,.1f} MB", soft_wrap=True)
    for note in exported.notes:
        console.print(note, soft_wrap=True)
    if push_to_hub is not None:
        console.print(f"uploaded: {push(target, push_to_hub, private=private)}", soft_wrap=True)
