"""Hashes of the files that an arm leaves, and the checks against its record before a file is used."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from thinwire.errors import ThinwireError
from thinwire.hashes import file_hash
from thinwire.regular_file import check_regular
from thinwire.results.arm_record import ArmRecord
from thinwire.results.layout import CHECKPOINT_FOLDER, DIAGNOSTICS_FILE, PREDICTIONS_FILE, run_of
from thinwire.results.record import damaged, say_not_checked


def hashes_of_arm(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the predictions, the diagnostics and the checkpoint's files, by path in the arm's folder.

    Raises:
        ThinwireError: one of them is missing or is no file.
    """
    names = [PREDICTIONS_FILE, DIAGNOSTICS_FILE, *_files_of_checkpoint(folder)]
    return {name: hash_of(folder / name, folder) for name in names}


def hash_of(path: Path, within: Path) -> str:
    """Return the SHA-256 of a file, which is read once as long as it does not change.

    Raises:
        ThinwireError: it is missing, is no regular file, or lies outside the folder ``within``.
    """
    check_regular(path, within)
    found = path.stat()
    return _hash(path.resolve(), (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


@lru_cache(maxsize=1 << 16)
def _hash(path: Path, state: tuple[int, ...]) -> str:
    """Hash a file; ``state`` is another once it has changed."""
    return file_hash(path)


def check_file(folder: Path, record: ArmRecord, name: str) -> Path:
    """Return the path of a file of the arm in ``folder``, checked to be the one that the arm wrote.

    Args:
        name: as in ``ArmRecord.files``.

    Raises:
        ThinwireError: it is missing, is no regular file, or has another hash.
    """
    path, run = folder / name, run_of(folder)
    if record.files is None:
        check_regular(path, run)
        say_not_checked(run)
    elif name not in record.files:
        raise damaged(path, f"the record of {record.name} does not name it")
    else:
        _compare(path, run, record.files[name], record)
    return path


def check_checkpoint(folder: Path, record: ArmRecord, needed: frozenset[str]) -> None:
    """Check that an arm's checkpoint holds the files that the arm wrote, and no other.

    Args:
        needed: the files that the arm's settings need, by path in ``checkpoint/``.

    Raises:
        ThinwireError: it was deleted, lacks a file, holds one that is not the arm's, or a file has another hash.
    """
    checkpoint = folder / CHECKPOINT_FOLDER
    if needed and not os.path.lexists(checkpoint):
        raise ThinwireError(
            f"{checkpoint} is missing; evaluate, export, teachers and lora.start_from need it, reports and comparisons "
            "do not: put it back, or train the arm again in another folder"
        )
    found = _files_of_checkpoint(folder)
    expected = [f"{CHECKPOINT_FOLDER}/{name}" for name in sorted(needed)]
    if strangers := [name for name in found if name not in expected]:
        raise ThinwireError(
            f"{checkpoint} holds what the arm {record.name} did not write ({', '.join(strangers)}); move it elsewhere"
        )
    for name in expected:
        check_file(folder, record, name)


def check_codec(folder: Path, record: ArmRecord) -> Path | None:
    """Return the file of the codec that the arm in ``folder`` used, checked; None if its input is text.

    Raises:
        ThinwireError: it is missing, is no regular file, or has another hash.
    """
    codec = record.done.codec
    if codec is None:
        return None
    run = run_of(folder)
    path = run / codec.file
    if not os.path.lexists(path):
        raise ThinwireError(f"{path} is missing, the codec of {record.name}; copy the whole run folder")
    if codec.sha256 is None:
        check_regular(path, run)
        say_not_checked(run)
    else:
        _compare(path, run, codec.sha256, record)
    return path


def _files_of_checkpoint(folder: Path) -> list[str]:
    """List what lies in an arm's checkpoint, by path in the arm's folder; folders only where they are empty."""
    checkpoint = folder / CHECKPOINT_FOLDER
    if not os.path.lexists(checkpoint):
        return []
    if checkpoint.is_symlink() or not checkpoint.is_dir():
        raise ThinwireError(f"{checkpoint} is no folder; expected the folder of what the arm learned")
    inside = (one for one in checkpoint.rglob("*") if one.is_symlink() or not one.is_dir() or not any(one.iterdir()))
    return sorted(one.relative_to(folder).as_posix() for one in inside)


def _compare(path: Path, run: Path, expected: str, record: ArmRecord) -> None:
    found = hash_of(path, run)
    if found != expected:
        raise ThinwireError(
            f"{path} is damaged: its SHA-256 is {found[:12]}, {expected[:12]} in the record of {record.name}; "
            "put an undamaged copy in its place"
        )
