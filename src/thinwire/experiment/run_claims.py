"""The claims in a run's folder: which process works there, and on what."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from thinwire import claims, interruption
from thinwire.claim_files import Seen, clear, look
from thinwire.claims import Claim
from thinwire.errors import StorageError, ThinwireError, UsageError
from thinwire.files import make_folder, remove_file, write_text
from thinwire.reading import read_text

WORKERS_FOLDER = ".workers"
"""In the run's folder. It holds what workers need of each other, and no result."""

SLURM_JOB_FILE = "slurm_job.txt"
"""There: the number of the Slurm array that was submitted last for the run."""

_SWEEP = "sweep"
"""Name of the claim of a sweep that began here, and was not submitted to a scheduler."""

_STOP_FILE = "stop.txt"

_WATCH_SECONDS = 2.0
"""Between two looks for a request to stop."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class RunClaims:
    """The claims in the folder of a run, on groups of arms and on what must be done by one worker."""

    def __init__(self, run: Path, device: str | None = None) -> None:
        """Create nothing yet.

        Args:
            device: of this process, shown to others.
        """
        self.folder = run / WORKERS_FOLDER
        self._device = device

    def take(self, name: str, progress: int = 0, steps: int = 0) -> Claim | None:
        """Claim ``name``; returns None if another worker has it (``claims.take``).

        Raises:
            StorageError: the claim cannot be written.
        """
        make_folder(self.folder)
        return claims.take(self.folder / name, device=self._device, progress=progress, steps=steps)

    def alone(self, name: str, what: str, act: Callable[[], None]) -> None:
        """Do what one worker at a time does: hold the claim ``name`` meanwhile, and wait for another that has it.

        Args:
            what: what is waited for, for the message.
            act: called again if another worker has taken the claim meanwhile, as from a process that was suspended.

        Raises:
            StorageError: a file cannot be written.
            Interrupted: this process is to stop.
        """
        claims.alone(self.folder / name, what, act)

    def ask_to_stop(self) -> None:
        """Ask all workers, also those that have not begun, to stop after their optimiser step.

        Raises:
            StorageError: the request cannot be written.
        """
        write_text(self.folder / _STOP_FILE, "")

    def take_back_stop(self) -> None:
        """Let workers begin again.

        Raises:
            StorageError: the request cannot be removed.
        """
        remove_file(self.folder / _STOP_FILE)

    def is_asked_to_stop(self) -> bool:
        """Return whether workers have been asked to stop."""
        return os.path.lexists(self.folder / _STOP_FILE)

    def kept(self) -> set[str]:
        """Return the names of all files here but the claims of owners that are gone."""
        gone = {one.name for one in self.seen() if one.is_gone}
        return {path.name for path in self.folder.glob("*")} - gone

    def is_held(self, name: str) -> bool:
        """Return whether a worker that is not gone holds the claim ``name``."""
        found = look(self.folder / name)
        return found is not None and not found.is_gone

    def seen(self) -> list[Seen]:
        """Return all claims, also those of owners that are gone."""
        found = (look(path) for path in sorted(self.folder.glob("[!.]*")) if not path.suffix)
        return [one for one in found if one is not None]

    def forget_gone(self) -> None:
        """Remove the claims of owners that are gone, and with them how many have gone without progress."""
        for one in self.seen():
            if one.is_gone:
                clear(self.folder / one.name, one)

    def live(self) -> list[Seen]:
        """Return the claims of owners that are not gone, this process's included."""
        return [one for one in self.seen() if not one.is_gone]


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Create ``folder``, and keep other sweeps out of it during the block; workers of this one may join.

    Call it only for a folder that is known to be a sweep's or new: claims are files in it. Folders that are new, and in
    which the block has written nothing, are removed again.

    Raises:
        UsageError: another process is using it, or it cannot be created or written to.
        StorageError: the disk is full.
    """
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    held = RunClaims(folder)
    before = held.kept()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_others(folder)
        if (claim := held.take(_SWEEP)) is None:  # another process was faster
            raise _in_use(folder, look(held.folder / _SWEEP))
    except OSError as error:
        _remove_empty(held, new, before)
        raise _unusable(folder, error) from None
    except StorageError as error:
        _remove_empty(held, new, before)
        if isinstance(error.__cause__, OSError):
            raise _unusable(folder, error.__cause__) from None
        raise
    with claim:
        try:
            yield
        finally:
            _remove_empty(held, new, before, claim)


@contextmanager
def stopping_on_request(held: RunClaims) -> Iterator[None]:
    """Stop this process during the block, like a signal, once workers are asked to stop.

    Raises:
        ThinwireError: they were, and this process keeps its own handling of signals (``interruption.install``).
    """
    is_over, thread = threading.Event(), threading.get_ident()

    def watch() -> None:
        while not is_over.wait(_WATCH_SECONDS):
            if held.is_asked_to_stop():
                interruption.stop(thread)
                return

    watcher = threading.Thread(target=watch, name="stop requests", daemon=True)
    watcher.start()
    was_asked = False
    try:
        try:
            yield
        finally:
            is_over.set()
            watcher.join()
            was_asked = interruption.take_back(thread)
    except interruption.Interrupted:
        if was_asked:
            raise ThinwireError(
                f"the run in {held.folder.parent} was cancelled, and what was done is kept; resume=True goes on with "
                "it (--resume of the command)"
            ) from None
        raise


def submitted_job(folder: Path) -> str | None:
    """Return the number of the Slurm array that was submitted last for the run in ``folder``; None if none was."""
    path = folder / WORKERS_FOLDER / SLURM_JOB_FILE
    return read_text(path).strip() if path.exists() else None


def refuse_others(folder: Path) -> None:
    """Refuse a folder in which workers are at work.

    Raises:
        UsageError: one is; it is named.
    """
    if others := RunClaims(folder).live():
        raise _in_use(folder, others[0])


def _in_use(folder: Path, seen: Seen | None) -> UsageError:
    who = f" ({seen.owner})" if seen and seen.owner else ""
    return UsageError(
        f"another process is running a sweep in {folder}{who}; wait for it, or use another folder "
        "(`thinwire status` shows what it does)"
    )


def _unusable(folder: Path, error: OSError) -> UsageError | StorageError:
    """Return what to raise where ``folder`` cannot be made or claimed."""
    reason = f"{folder} cannot hold results: {error.strerror or error}"
    if error.errno in _NO_SPACE:
        return StorageError(f"{reason}; free some space")
    return UsageError(f"{reason}; choose another folder (--output)")


def _remove_empty(held: RunClaims, new: list[Path], before: set[str], own: Claim | None = None) -> None:
    """Remove what a sweep has made in a folder that holds nothing else: in its folder of claims what is not of
    ``before``, and those of ``new``, folder and parents, that are empty.

    Where other workers are at work, or a job is to begin, all of it stays: they need the request.

    Args:
        own: this process's claim on the folder.
    """
    folder = held.folder.parent
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {WORKERS_FOLDER}:
        others = [one for one in held.live() if not (own and one.owner and one.owner.token == own.owner.token)]
        made = [path for path in held.folder.glob("*") if path.name not in before]
        if not others and submitted_job(folder) is None:
            for path in made:
                with suppress(OSError):
                    path.unlink()
        with suppress(OSError):
            held.folder.rmdir()
    for place in new:
        with suppress(OSError):  # not there, or something has been written into it
            place.rmdir()
