"""Changes of files and folders: atomic, and made only while a check allows them."""

import errno
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from safetensors import SafetensorError

from thinwire.errors import UsageError
from thinwire.hard_links import named
from thinwire.partial_files import is_partial, partial_parts, remove_whole, temporary_file
from thinwire.storage_errors import writing

_check: ContextVar[Callable[[], None]] = ContextVar("check", default=lambda: None)


@contextmanager
def checking(check: Callable[[], None]) -> Iterator[None]:
    """Call ``check``, which may raise, before any file or folder is created, changed or removed in the block, after
    the checks of blocks around it.

    It is called as late as can be: when the new content lies beside the file, or the file to append to is open. Who
    removes the temporary files of a folder and replaces the files that are appended to, once ``check`` raises, keeps
    out a process that was suspended at any moment.
    """
    around = _check.get()

    def both() -> None:
        around()
        check()

    token = _check.set(both)
    try:
        yield
    finally:
        _check.reset(token)


def make_folder(path: Path) -> None:
    """Create a folder with its parents, if it is not there.

    Raises:
        StorageError: it cannot be created.
    """
    if path.is_dir():
        return
    _check.get()()
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and rename it to ``path`` if the block succeeds.

    Every file that this package writes as a whole is written this way. Other processes, and runs after a crash or a
    power failure, see the old file or the complete new one: the content is on disk before the name is. A symbolic link
    stays one, and the file it leads to is replaced. What a killed process leaves is recognised by its name, and removed
    by the next write of the same file or with the folder's others (``remove_partial_files``).

    Raises:
        UsageError: ``path`` is there and is no file.
        StorageError: it cannot be written; the old file is kept.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise UsageError(f"{path} is no ordinary file, so it cannot be replaced; choose another name")
    make_folder(target.parent)
    with writing(path):
        temporary = temporary_file(target)
        try:
            yield temporary
            temporary.chmod(0o644)
            sync(temporary)
            _check.get()()
            temporary.replace(target)
            sync(target.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def creating(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and give it that name if the block succeeds and no file has it.

    Of several processes that do so, also on other hosts, one succeeds. A file system without hard links cannot tell;
    there, the file is renamed if there is none just before.

    Raises:
        FileExistsError: there is a file, which is kept.
        StorageError: it cannot be written.
    """
    make_folder(path.parent)
    is_there = False
    with writing(path):
        temporary = temporary_file(path)
        try:
            yield temporary
            temporary.chmod(0o644)
            sync(temporary)
            _check.get()()
            is_there = not named(temporary, path)
            sync(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    if is_there:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder beside ``path``, and rename it to ``path`` if the block succeeds.

    For what other libraries write: a checkpoint of several files appears as a whole, and its files and folders can be
    read by whom the user's umask allows, whatever modes the library chose.

    Raises:
        StorageError: it cannot be written; nothing is left.
    """
    make_folder(path.parent)
    with writing(path):
        prefix, suffix = partial_parts(path)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=prefix, suffix=suffix))
        try:
            try:
                yield temporary
            except SafetensorError as error:  # the library's own word for an error of the operating system
                if (code := re.search(r"os error (\d+)", str(error))) is None:
                    raise
                raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
            taken = _umask()
            for written in (*temporary.rglob("*"), temporary):
                written.chmod((0o777 if written.is_dir() else 0o666) & ~taken)
                sync(written)
            _check.get()()
            temporary.rename(path)
            sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    found = os.umask(0o077)
    os.umask(found)
    return found


def remove_partial_files(folder: Path, pattern: str = "**/.*") -> None:
    """Remove what killed processes left half-written below ``folder``; no other process may be writing there.

    Raises:
        StorageError: something cannot be removed.
    """
    found = [path for path in folder.glob(pattern) if is_partial(path)]
    _check.get()()  # after they are listed: what another process begins to write from now on stays
    for path in found:
        with writing(path):
            remove_whole(path)


def move(path: Path, target: Path) -> None:
    """Rename a file or folder.

    Raises:
        StorageError: it cannot be renamed.
    """
    _check.get()()
    with writing(target):
        path.replace(target)


def remove_file(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        StorageError: it cannot be removed.
    """
    _check.get()()
    with writing(path):
        path.unlink(missing_ok=True)


def remove_content(path: Path, content: bytes) -> None:
    """Remove a file that holds ``content``. If another process has written it anew, that file stays, also where this
    process was suspended just before: what is removed is looked at once more when it has another name.

    Raises:
        StorageError: it cannot be removed.
    """
    prefix, suffix = partial_parts(path)
    aside = path.with_name(f"{prefix}{secrets.token_hex(4)}{suffix}")
    _check.get()()
    with writing(path), suppress(FileNotFoundError):
        path.rename(aside)
        if aside.read_bytes() != content:
            named(aside, path)
        aside.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on disk. File systems that cannot do that are left alone."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically (``replacing``)."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically. NaN and infinity are refused; a missing value is null."""
    write_bytes(path, _json(value))


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def create_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON if there is no file ``path`` yet (``creating``).

    Raises:
        FileExistsError: there is one, which is kept.
    """
    with creating(path) as temporary:
        temporary.write_bytes(_json(value))


def write_jsonl(path: Path, rows: Iterable[object]) -> None:
    """Write one JSON object per line, atomically."""
    write_text(path, "".join(_line(row) for row in rows))


def append_jsonl(path: Path, row: object) -> None:
    """Append one JSON line and flush it, so that a run can be followed while it goes on.

    Raises:
        StorageError: the line cannot be written; the file is as before, as far as it can be.
    """
    append_bytes(path, _line(row).encode())


def append_bytes(path: Path, data: bytes) -> None:
    """Append ``data`` to a file and flush it; ``append_jsonl`` says how it fails."""
    # Unbuffered: a buffer would be written once more when the file is closed, after an error too.
    with writing(path), path.open("ab", buffering=0) as file:
        _check.get()()
        length = file.tell()
        try:
            while data:  # a disk that is nearly full takes a part
                data = data[file.write(data) :]
        except OSError:
            with suppress(OSError):
                os.truncate(path, length)
            raise


def _line(row: object) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
