"""``experiment.yaml``: the settings of a sweep, after file and command line were merged, with a hash of the text."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from thinwire.files import write_text
from thinwire.reading import read_text
from thinwire.results.layout import EXPERIMENT_FILE
from thinwire.results.record import carries_hashes, damaged, say_not_checked

_BEGIN = "# sha256 of the lines below: "


def write_experiment_file(run: Path, settings: Mapping[str, Any]) -> None:
    """Write ``settings`` into the sweep's folder as YAML, atomically."""
    text = yaml.safe_dump(dict(settings), sort_keys=False)
    write_text(run / EXPERIMENT_FILE, f"{_BEGIN}{_hash(text)}\n{text}")


def has_experiment_file(run: Path) -> bool:
    """Whether there is such a file in the folder, whatever can be read of it."""
    return os.path.lexists(run / EXPERIMENT_FILE)


def read_experiment_file(run: Path) -> dict[str, Any]:
    """Read what ``write_experiment_file`` wrote.

    Raises:
        ThinwireError: the file is missing, was changed, or is no YAML mapping.
    """
    path = run / EXPERIMENT_FILE
    text = read_text(path, within=run)
    first, _, rest = text.partition("\n")
    if not first.startswith(_BEGIN):
        if carries_hashes(run):
            raise damaged(path, "the hash of its lines is missing from the first")
        say_not_checked(run)
    elif first.removeprefix(_BEGIN) != _hash(rest):
        raise damaged(path, "its lines do not have the hash that they were written with")
    try:
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = f"{error}".split("\n", 1)[0]
        raise damaged(path, f"it is no YAML ({why})") from None
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        raise damaged(path, f"it holds a {type(settings).__name__}, expected a mapping of settings")
    return settings


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
