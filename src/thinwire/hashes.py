"""Hashes of values and files."""

import hashlib
import json
from pathlib import Path


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
