"""How far the training on texts of an arm is: a worker that goes away while its resume points grow is no attempt."""

from __future__ import annotations

import os
from pathlib import Path

from thinwire.errors import ThinwireError
from thinwire.experiment.run_claims import WORKERS_FOLDER
from thinwire.files import make_folder, write_text
from thinwire.reading import read_text


def write_text_progress(sweep_folder: Path, arm: str, step: int) -> None:
    """Note that ``step`` steps are about to have a resume point.

    Raises:
        StorageError: it cannot be written.
    """
    path = _path(sweep_folder, arm)
    make_folder(path.parent)
    write_text(path, f"{step}\n")


def text_progress(sweep_folder: Path, arm: str) -> int:
    """Return what was noted last; 0 if there is nothing, or nothing that can be read."""
    path = _path(sweep_folder, arm)
    try:
        return int(read_text(path)) if os.path.lexists(path) else 0
    except (ThinwireError, ValueError):
        return 0


def _path(sweep_folder: Path, arm: str) -> Path:
    return sweep_folder / WORKERS_FOLDER / f"{arm}.text_steps"  # a name with a suffix is no claim
