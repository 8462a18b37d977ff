"""The ``thinwire`` command."""

from __future__ import annotations

import signal
import sys

import typer

from thinwire.cli.arguments import Commands
from thinwire.cli.checkpoints import checkpoints_app
from thinwire.cli.options import console
from thinwire.cli.results import results_app
from thinwire.cli.runs import runs_app
from thinwire.errors import ThinwireError

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
for commands in (runs_app, checkpoints_app, results_app):
    app.add_typer(commands)


def main() -> None:
    """Run the command.

    Exit codes: 2 for a request that cannot be carried out, 1 for work that failed, 130 if interrupted.
    """
    # Treat a scheduler's SIGTERM as an interruption: running arms are recorded as cancelled.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except ThinwireError as error:
        for line in error.lines:
            console.print(f"error: {line}", markup=False, highlight=False, style="red", soft_wrap=True)
        sys.exit(error.exit_code)
