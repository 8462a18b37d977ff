"""Atomic writes and content hashes of JSON, JSON Lines and text files."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from thinwire.errors import ThinwireError


def content_hash(value: object) -> str:
    """Return the hexadecimal SHA-256 of ``value`` as canonical JSON: equal content has an equal hash."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and rename it to ``path`` if the block succeeds.

    Other processes see the old file or the complete new one, never a partial file.
    """
    if path.is_dir():
        raise ThinwireError(f"{path} is a folder, so no file can be written there; move it elsewhere")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, atomically. NaN and infinity are refused; a missing value is null."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[object]) -> None:
    """Write one JSON object per line, atomically."""
    write_text(path, "".join(_line(row) for row in rows))


def append_jsonl(path: Path, row: object) -> None:
    """Append one JSON line and flush it, so that a run can be followed while it goes on."""
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(row))


def _line(row: object) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
