"""Options, console, progress bars and logging shared by the commands."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from thinwire.cli.arguments import output_folder
from thinwire.config.settings import ColumnsConfig
from thinwire.config.strict_yaml import parse_yaml
from thinwire.errors import UsageError, shown
from thinwire.progress import Display, RichDisplay, wants_plain
from thinwire.schema import build


def make_console(**options: Any) -> Console:
    """Make a console that writes no escape codes where the environment asks for none; ``options`` are rich's."""
    return Console(color_system=None if wants_plain() else "auto", **options)


console = make_console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]
Mismatched = Annotated[
    str, typer.Option(help="Questions whose answers are not where they should be in the context: refuse, drop or keep.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="FIELD=COLUMN",
        help="A column of a table, e.g. context=passage or id=null; fields: id, context, question, answers, choices, "
        "title.",
    ),
]
Unanswerable = Annotated[str, typer.Option(help="SQuAD v2.0 questions without an answer: refuse or drop.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a setting, e.g. lora.dropout=0 or model.name=PATH."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder of the results [default: runs/NAME, after the experiment].",
        callback=output_folder("output folder"),
    ),
]


def unanswerable_choice(value: str) -> Any:
    """Check the value of ``--unanswerable``.

    Raises:
        UsageError: it is neither refuse nor drop.
    """
    if value not in ("refuse", "drop"):
        raise UsageError(f"--unanswerable takes refuse or drop, got {shown(value)}")
    return value


def mismatched_choice(value: str) -> Any:
    """Check the value of ``--mismatched``.

    Raises:
        UsageError: it is neither refuse nor drop nor keep.
    """
    if value not in ("refuse", "drop", "keep"):
        raise UsageError(f"--mismatched takes refuse, drop or keep, got {shown(value)}")
    return value


def chosen_columns(values: list[str] | None) -> ColumnsConfig:
    """Read the values of ``--columns``, which have the form of ``--set``.

    Raises:
        UsageError: one is not of the form FIELD=COLUMN, names no field or a field again, or has no name of a column.
    """
    found: dict[str, Any] = {}
    for value in values or ():
        field, equals, text = value.partition("=")
        if not equals or not field or not text.strip():
            raise UsageError(f"--columns takes FIELD=COLUMN, such as context=passage, got {shown(value)}")
        if field in found:
            raise UsageError(f"--columns {field} is given twice; give it once")
        found[field] = parse_yaml(text, f"--columns {field}: {shown(text)} is no YAML value")
    return build(ColumnsConfig, found, where="columns")


@contextmanager
def progress_display() -> Iterator[Display]:
    """Show progress as bars on a terminal and as lines elsewhere, with the package's messages."""
    with log_messages():
        if console.is_terminal and not wants_plain():
            with RichDisplay(console) as display:
                yield display
        else:
            yield Display()


@contextmanager
def log_messages() -> Iterator[None]:
    """Show the package's messages on the console during the block."""
    handler: logging.Handler
    if console.is_terminal and not wants_plain():
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
