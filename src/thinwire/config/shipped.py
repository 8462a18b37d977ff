"""The experiments that ship with the package, and are found by name where no file has it.

In a checkout the folder is a link to ``experiments/``, so that there is one copy.
"""

from __future__ import annotations

import os
from pathlib import Path

from thinwire.schema import nearest

_FOLDER = Path(__file__).parents[1] / "experiments"

SCHEMA_FILE = _FOLDER / "schema.json"
"""The JSON schema of experiment files, as ``config.json_schema`` makes it."""


def shipped_experiments() -> dict[str, Path]:
    """Return the files of the experiments by name: ``phase1a_lora``, ``ablations/tradeoff``."""
    files = sorted(_FOLDER.glob("*.yaml")) + sorted(_FOLDER.glob("*/*.yaml"))
    return {file.relative_to(_FOLDER).with_suffix("").as_posix(): file for file in files}


def shipped_experiment(name: str) -> Path | None:
    """Return the file of the experiment ``name``, with or without its folder; None if there is none."""
    return next((file for full, file in shipped_experiments().items() if name in (full, file.stem)), None)


def is_file_of(path: Path) -> bool:
    """Return whether there is anything at ``path`` that an experiment could be read from; a folder is not."""
    return os.path.lexists(path) and not os.path.isdir(path)  # noqa: PTH112 - false for paths that no system can have


def names_near(path: Path) -> str:
    """Write the names of the shipped experiments, after those that are like a path that does not exist."""
    shipped = shipped_experiments()
    by_stem = {file.stem: name for name, file in shipped.items()}
    near = nearest(path.stem, by_stem)
    for stem, name in by_stem.items():
        near = near.replace(f"'{stem}'", f"'{name}'")
    return f"{near}; with the package come: {', '.join(shipped)}"
