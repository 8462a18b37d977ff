"""Files that a run leaves: written atomically, read back strictly, keyed by the hash of what made them."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thinwire.errors import ThinwireError


def content_hash(value: object) -> str:
    """Hexadecimal SHA-256 of ``value`` as canonical JSON: equal content, equal hash."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, and move it there if the block ends well: readers never see half."""
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
    """Write ``value`` as indented JSON, atomically. NaN and infinity are refused: missing is null."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[object]) -> None:
    """Write one JSON object a line, atomically."""
    write_text(path, "".join(_line(row) for row in rows))


def append_jsonl(path: Path, row: object) -> None:
    """Append one JSON line, flushed, so that a run can be followed while it goes on."""
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(row))


def _line(row: object) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file that this package wrote; a broken one is an error that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ThinwireError(f"{path} cannot be read as JSON: {error}") from None


def read_jsonl(path: Path) -> list[Any]:
    """Read a JSON Lines file; a broken line is an error that names it."""
    rows = []
    try:
        # Not splitlines: a string in the JSON may hold other characters that Python takes for line ends.
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ThinwireError(f"{path} cannot be read: {error}") from None
    if lines == [""]:
        return []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ThinwireError(f"{path}, line {number}: no JSON object ({error})") from None
    return rows
