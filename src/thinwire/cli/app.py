"""The commands of ``thinwire``, put together."""

from __future__ import annotations

import typer

from thinwire.cli.arguments import Commands
from thinwire.cli.checkpoints import checkpoints_app
from thinwire.cli.items import items_app
from thinwire.cli.results import results_app
from thinwire.cli.runs import runs_app
from thinwire.cli.workers import workers_app

app = typer.Typer(
    name="thinwire",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Compress the input embeddings of a language model, and measure whether LoRA helps to use them.\n\n"
    "Start with `thinwire sweep experiments/phase1a_lora.yaml --set data.samples=300 --set training.epochs=1`, "
    "then `thinwire compare runs/phase1a_lora_sweep`.",
)
for commands in (runs_app, workers_app, checkpoints_app, results_app, items_app):
    app.add_typer(commands)
