"""A new experiment file, with comments, to be edited."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from thinwire.config.experiment import Experiment
from thinwire.config.shipped import SCHEMA_FILE
from thinwire.config.strict_yaml import parse_yaml
from thinwire.errors import UsageError, shown
from thinwire.schema import build

_TEMPLATE = Path(__file__).with_name("template.yaml")
_NAME, _FILE, _SCHEMA = "my_experiment", "my_experiment.yaml", "../experiments/schema.json"
"""What the template holds in the places of an experiment's name, its file and the schema."""


def new_experiment(name: str, file: Path) -> str:
    """Return the text of a new experiment file.

    Args:
        file: where it will lie, for the commands in its comments.

    Raises:
        UsageError: no experiment can have the name, or it is that of a file.
    """
    if name.lower().endswith((".yaml", ".yml")):
        raise UsageError(f"{shown(name)} is the name of a file, expected an experiment's: {shown(Path(name).stem)}")
    lines = _TEMPLATE.read_text(encoding="utf-8").splitlines()
    is_plain = parse_yaml(name, "the experiment's name") == name
    lines[lines.index(f"name: {_NAME}")] = f"name: {name if is_plain else json.dumps(name)}"
    lines[0] = lines[0].replace(_SCHEMA, str(SCHEMA_FILE))
    for number, line in enumerate(lines):
        if line.startswith("#"):
            lines[number] = line.replace(_FILE, shlex.quote(str(file))).replace(f"runs/{_NAME}", f"runs/{name}")
    text = "\n".join(lines) + "\n"
    build(Experiment, parse_yaml(text, str(file)), where="")
    return text
