"""The commands of ``thinwire``, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from thinwire import __version__
from thinwire.cli.arguments import Commands
from thinwire.cli.checkpoints import checkpoints_app
from thinwire.cli.experiments import experiments_app
from thinwire.cli.items import items_app
from thinwire.cli.results import results_app
from thinwire.cli.runs import runs_app
from thinwire.cli.workers import workers_app

app = typer.Typer(
    name="thinwire",
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Compress the input embeddings of a language model, and measure whether LoRA helps to use them.\n\n"
    "Start with `thinwire sweep phase1a_lora --set data.samples=300 --set training.epochs=1`, "
    "then `thinwire compare runs/phase1a_lora_sweep`.",
)
for commands in (runs_app, experiments_app, workers_app, checkpoints_app, results_app, items_app):
    app.add_typer(commands)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"thinwire {__version__}")
        raise typer.Exit


@app.callback()
def _of_all_commands(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command; their callbacks do the work."""
