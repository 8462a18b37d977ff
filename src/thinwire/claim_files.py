"""The file of a claim: created as a whole by one process, looked at by others, removed when its owner is gone."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from thinwire.claim_owners import Owner, content_of, is_gone, machine, parsed_owner
from thinwire.errors import StorageError
from thinwire.files import remove_content
from thinwire.hard_links import NO_LINKS, linked
from thinwire.partial_files import temporary_file


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A claim as another process sees it."""

    name: str
    owner: Owner | None
    """None if it cannot be read, as right after its creation."""
    age: float
    """Seconds since it was renewed, by the clock of the file system."""
    is_gone: bool
    """Whether its owner is gone."""
    content: bytes
    """Of the file."""


def create(path: Path, owner: Owner) -> int | None:
    """Create the file of a claim as a whole: one that a killed process left empty would hold until it is old.

    Returns:
        A handle of it; None if there is one, or if it may be there when it is tried again.
    """
    temporary = temporary_file(path)
    handle = os.open(temporary, os.O_RDWR)
    try:
        _fill(handle, owner)
        if linked(temporary, path):
            os.utime(handle)  # it is as old as its name, also if this process was suspended before
            return handle
    except FileNotFoundError:
        pass  # a worker that prepares the run has removed the temporary file
    except OSError as error:
        os.close(handle)
        if error.errno not in NO_LINKS:
            raise
        return _create_without_links(path, owner)
    finally:
        temporary.unlink(missing_ok=True)
    os.close(handle)
    return None


def _create_without_links(path: Path, owner: Owner) -> int | None:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    except FileExistsError:
        return None
    try:
        _fill(handle, owner)
    except OSError:
        path.unlink(missing_ok=True)
        os.close(handle)
        raise
    return handle


def _fill(handle: int, owner: Owner) -> None:
    os.write(handle, content_of(owner))
    os.fchmod(handle, 0o644)
    with suppress(OSError):  # what cannot be synchronised is left alone
        os.fsync(handle)


def look(path: Path) -> Seen | None:
    """Return the claim ``path`` as it is now; None if nobody holds it."""
    try:
        with path.open("rb") as file:  # a network file system asks its server when a file is opened
            content, state = file.read(), os.fstat(file.fileno())
    except OSError:
        return None
    owner = parsed_owner(content)
    is_here = owner is not None and owner.machine == machine()
    age = (time.time() if is_here else _now_there(path.parent)) - state.st_mtime
    return Seen(name=path.name, owner=owner, age=age, is_gone=is_gone(owner, age), content=content)


def clear(path: Path, seen: Seen) -> None:
    """Remove a claim whose owner is gone. If another process has done so and claimed it anew, that claim stays."""
    with suppress(OSError, StorageError):
        if path.read_bytes() == seen.content:
            remove_content(path, seen.content)


def _now_there(folder: Path) -> float:
    """Return the time of the file system of ``folder``, which need not be that of this host; where nothing can be
    written, this host's."""
    probe = folder / f".now.{secrets.token_hex(8)}"
    try:
        handle = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except OSError:
        return time.time()
    try:
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        probe.unlink(missing_ok=True)
