"""Small files in a sweep's folder that say which run of a tracker is an arm's, and what a tracker was told.

They lie apart from the arms' folders, which may be moved while a slow tracker is still at work.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from thinwire.errors import ThinwireError
from thinwire.files import create_json, write_json
from thinwire.hashes import content_hash
from thinwire.reading import read_json

MARKS_FOLDER = ".tracking"


def run_of_tracker(sweep_folder: Path, tracker: str, what: tuple[str, ...], make: Callable[[], str]) -> str:
    """Return the identifier of the tracker's run for ``what``; of several workers, one makes it.

    Args:
        tracker: its name, and where it reports to.
        what: the arm's name and the time at which it was begun, for example.
        make: makes a run and returns its identifier, where there is none. Another worker's may be taken instead.

    Raises:
        StorageError: the identifier cannot be written.
        ThinwireError: the file is damaged.
    """
    path = _path(sweep_folder, "run", tracker, *what)
    if not path.exists():
        with suppress(FileExistsError):
            create_json(path, {"tracker": tracker, "of": what, "run": make()})
    try:
        return str(read_json(path)["run"])
    except (KeyError, TypeError):
        raise ThinwireError(f"{path} names no run; remove it, and the tracker gets a new one") from None


def has_been_told(sweep_folder: Path, tracker: str, *what: str) -> bool:
    """Return whether ``tracker`` was told that ``what`` has ended."""
    return _path(sweep_folder, "told", tracker, *what).exists()


def mark_told(sweep_folder: Path, tracker: str, *what: str) -> None:
    """Keep that ``tracker`` was told that ``what`` has ended.

    Raises:
        StorageError: that cannot be written.
    """
    write_json(_path(sweep_folder, "told", tracker, *what), {"tracker": tracker, "of": what})


def _path(sweep_folder: Path, kind: str, tracker: str, *what: str) -> Path:
    return sweep_folder / MARKS_FOLDER / f"{kind}-{content_hash([tracker, *what])[:20]}.json"
