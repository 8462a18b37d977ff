"""The commands for experiment files: init, settings, schema."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from thinwire.cli.arguments import Command, output_file
from thinwire.cli.options import console
from thinwire.errors import UsageError

experiments_app = typer.Typer()


@experiments_app.command(cls=Command)
def init(
    name: Annotated[str, typer.Argument(help="The experiment's name.")] = "my_experiment",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file [default: NAME.yaml].", callback=output_file("new experiment file")
        ),
    ] = None,
) -> None:
    """Write an experiment file with comments, to be edited."""
    from thinwire.config.template import new_experiment
    from thinwire.files import creating

    file = output or Path(f"{name}.yaml")
    text = new_experiment(name, file)
    try:
        with creating(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except FileExistsError:
        raise UsageError(f"{file} exists and is kept; name another file with --output") from None
    typer.echo(file)
    console.print(
        f"edit it, then: thinwire sweep {shlex.quote(str(file))} --dry-run",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


@experiments_app.command(cls=Command)
def settings(
    path: Annotated[
        str | None,
        typer.Argument(help="A setting, or a group of them: blocks.reconstruction [default: all]."),
    ] = None,
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/guide/settings.md.")] = False,
) -> None:
    """List the settings of an experiment file, with their defaults and what they do."""
    from thinwire.config.describe import settings_below, settings_page

    if markdown:
        typer.echo(settings_page(), nl=False)
        return
    for setting in settings_below(path):
        typer.echo(f"{setting.path} = {setting.default.strip('`')}  ({setting.values.replace('`', '')})")
        typer.echo(f"    {setting.description.replace('`', '')}")


@experiments_app.command(cls=Command)
def schema() -> None:
    """Print the JSON schema of experiment files, for editors: completion, descriptions, mistakes underlined."""
    from thinwire.config.json_schema import experiment_schema

    typer.echo(json.dumps(experiment_schema(), indent=2, ensure_ascii=False))
