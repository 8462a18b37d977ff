"""The groups of arms that the workers of a run share, as one of them has planned them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from thinwire.experiment.plan import Planned
from thinwire.experiment.run_claims import WORKERS_FOLDER
from thinwire.files import make_folder, move
from thinwire.hashes import content_hash
from thinwire.results.record import Record, read_record, write_record

_QUEUE_FILE = "groups.json"

_EARLIER_FILE = "groups_before.json"
"""Those of the session before, so that arms that are left can be in the same groups again."""


class GroupQueue(Record):
    """Groups in the order in which they are begun, by the names of their arms."""

    choices: str
    """Hash of the settings that a search had chosen."""
    group_size: int
    """The largest group that was allowed."""
    groups: tuple[tuple[str, ...], ...]

    def covers(self, runs: Sequence[Planned]) -> bool:
        """Return whether all of ``runs`` are in a group."""
        return {run.name for run in runs} <= {name for names in self.groups for name in names}

    def of(self, runs: Sequence[Planned]) -> list[list[Planned]]:
        """Return ``runs`` in their groups."""
        by_name = {run.name: run for run in runs}
        groups = ([by_name[name] for name in names if name in by_name] for names in self.groups)
        return [group for group in groups if group]

    def claim(self, run: Planned) -> str:
        """Return the name of the claim on the group of ``run``: of all arms of it, also of those that have ended."""
        return next(claim_name(names) for names in self.groups if run.name in names)


def write_queue(run: Path, queue: GroupQueue) -> None:
    """Write the groups of the run in the folder ``run``, atomically."""
    make_folder(run / WORKERS_FOLDER)
    write_record(run / WORKERS_FOLDER / _QUEUE_FILE, queue)


def read_queue(run: Path) -> GroupQueue | None:
    """Read the groups of this session; None if nobody has planned them yet.

    Raises:
        ThinwireError: the file is damaged.
    """
    return _read(run, _QUEUE_FILE)


def read_earlier_queue(run: Path) -> GroupQueue | None:
    """Read the groups of the session before; None if there was none.

    Raises:
        ThinwireError: the file is damaged.
    """
    return _read(run, _EARLIER_FILE)


def _read(run: Path, name: str) -> GroupQueue | None:
    path = run / WORKERS_FOLDER / name
    return read_record(GroupQueue, path, "list of groups", run) if os.path.lexists(path) else None


def begin_session(run: Path) -> None:
    """Set the groups of an earlier session aside: the first worker of this one plans anew. No worker may be at work.

    Raises:
        StorageError: the file cannot be renamed.
    """
    path = run / WORKERS_FOLDER / _QUEUE_FILE
    if os.path.lexists(path):
        move(path, path.with_name(_EARLIER_FILE))


def claim_name(group: Sequence[Planned] | Sequence[str]) -> str:
    """Return the name of the claim on a group."""
    names = sorted(one if isinstance(one, str) else one.name for one in group)
    return f"group-{content_hash(names)[:12]}"
