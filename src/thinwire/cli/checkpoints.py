"""The commands for a trained arm: evaluate and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thinwire.cli.options import AsJson, Unanswerable, console, log_messages, progress_display, unanswerable_choice
from thinwire.config.settings import EvaluationConfig, ModelConfig, PromptConfig
from thinwire.errors import UsageError
from thinwire.schema import build

checkpoints_app = typer.Typer()

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@checkpoints_app.command()
def evaluate(
    target: Annotated[str, typer.Argument(help="An arm's folder (runs/SWEEP/ARM), or a bare model (input: text).")],
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
    from thinwire.checkpoints.evaluate import evaluate_target

    if samples != "all" and not (samples.isdecimal() and int(samples) > 0):
        raise UsageError(f"--samples takes a positive number or all, got {samples!r}")
    with progress_display() as display:
        scores, answers = evaluate_target(
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
        from thinwire.files import write_json

        write_json(predictions, answers)
    if as_json:
        typer.echo(scores.model_dump_json())
    else:
        typer.echo(f"F1 {100 * scores.f1:.2f}  EM {100 * scores.exact_match:.2f}  {scores.n} questions")


@checkpoints_app.command()
def export(
    arm: Annotated[Path, typer.Argument(help="An arm's folder: runs/SWEEP/ARM.")],
    target: Annotated[Path, typer.Argument(help="The checkpoint folder to write.")],
) -> None:
    """Fold an arm into an ordinary checkpoint: embeddings replaced, LoRA merged, no cost at inference."""
    from thinwire.checkpoints.export import export as export_arm
    from thinwire.checkpoints.load import find_arm

    with log_messages():
        export_arm(find_arm(arm, device="cpu"), target)
    console.print(f"checkpoint: {target}")
