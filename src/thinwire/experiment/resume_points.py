"""Which resume points count: the arms of a group continue from the same step, or not at all.

The states of a group are several files. New ones are written beside the old ones, then a manifest that names them,
atomically, and only then are the old ones removed. A process that is killed in between leaves either the old manifest
with the old states or the new one with the new states; one that another has taken the group from, as while it was
suspended, changes nothing (``files.checking``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from thinwire.errors import ThinwireError
from thinwire.files import remove_file, remove_partial_files, write_json
from thinwire.hashes import content_hash
from thinwire.reading import read_json
from thinwire.results.layout import BATCHES_FILE, STATE_FILES
from thinwire.training.state import Position

_MANIFESTS = ".resume-*.json"
"""In the sweep's folder, one for each group that has resume points."""

_STATE_NAME = re.compile(r"unfinished-(\d+)-(\d+)\.safetensors")


@dataclass(frozen=True, kw_only=True)
class Committed:
    """A resume point that counts."""

    file: Path
    group: str
    """Name of the manifest. Arms continue together if it is the same: other arms of a group change roundings and
    dropout masks."""

    @property
    def progress(self) -> int:
        """A number that grows with every later resume point of the arm."""
        return sum(_place(self.file))

    @property
    def steps(self) -> int:
        """Optimiser steps that the arm had done."""
        return _place(self.file)[0]


def state_name(position: Position) -> str:
    """Return the name of the file of a state at ``position``; ``STATE_FILES`` matches it."""
    return f"unfinished-{position.epoch}-{position.step}.safetensors"


def commit(sweep_folder: Path, claim: str, states: Mapping[str, Path]) -> None:
    """Make ``states``, files by the name of the arm, the resume points of a group, and remove its earlier ones.

    Args:
        claim: name of the claim by which the arms are this process's.

    Raises:
        StorageError: a file cannot be written or removed.
    """
    manifest = sweep_folder / f".resume-{claim}-{content_hash(sorted(states))[:12]}.json"
    entries = {name: file.relative_to(sweep_folder).as_posix() for name, file in states.items()}
    write_json(manifest, {"states": entries})
    for file in states.values():
        for other in file.parent.glob(STATE_FILES):
            if other != file:
                remove_file(other)


def remove_uncommitted(sweep_folder: Path, claim: str) -> None:
    """Remove manifests that an earlier owner of ``claim`` has not written whole, so that it no longer can.

    Raises:
        StorageError: a file cannot be removed.
    """
    remove_partial_files(sweep_folder, f"..resume-{claim}-*")


def committed(sweep_folder: Path) -> dict[str, Committed]:
    """Return the resume points that count, by the name of the arm.

    If an arm has two because it changed its group and a process was killed then, the later one counts.
    """
    found: dict[str, Committed] = {}
    for manifest in sorted(sweep_folder.glob(_MANIFESTS)):
        for name, path in _entries(manifest).items():
            one = Committed(file=sweep_folder / path, group=manifest.name)
            if one.file.is_file() and (name not in found or _place(found[name].file) < _place(one.file)):
                found[name] = one
    return found


def _entries(manifest: Path) -> dict[str, str]:
    """Return the entries of a manifest; none if it cannot be read, so that its arms start again."""
    try:
        states = read_json(manifest)["states"]
        return {str(name): str(path) for name, path in states.items() if _is_state_below(Path(path))}
    except (ThinwireError, KeyError, TypeError, AttributeError):
        return {}


def _is_state_below(path: Path) -> bool:
    return bool(_STATE_NAME.fullmatch(path.name)) and not path.is_absolute() and ".." not in path.parts


def _place(file: Path) -> tuple[int, int]:
    found = _STATE_NAME.fullmatch(file.name)
    assert found is not None, "a state's name"
    return int(found[2]), int(found[1])


def remove_superseded(sweep_folder: Path, folders: Mapping[str, Path], done: set[str]) -> None:
    """Remove states that do not count, and manifests that name none that does; no other process may be writing.

    Args:
        folders: the folder of each arm, by name.
        done: arms that are done; their states no longer count.

    Raises:
        StorageError: a file cannot be removed.
    """
    kept = {name: one for name, one in committed(sweep_folder).items() if name not in done}
    for name, folder in folders.items():
        for state in folder.glob(STATE_FILES):
            if name not in kept or state != kept[name].file:
                remove_file(state)
        if name in done:
            remove_file(folder / BATCHES_FILE)
    groups = {one.group for one in kept.values()}
    for manifest in sweep_folder.glob(_MANIFESTS):
        if manifest.name not in groups:
            remove_file(manifest)
