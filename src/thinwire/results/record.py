"""Base class of what is recorded in JSON files, writing it with a hash of its content, and reading it back."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from thinwire.errors import ThinwireError
from thinwire.files import create_json, write_json
from thinwire.hashes import content_hash
from thinwire.reading import complaint, read_json
from thinwire.results.layout import HEADER_FILE

logger = logging.getLogger(__name__)

SEAL = "content_sha256"
"""The entry of a file that holds the hash of all its other entries (``hashes.content_hash``)."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def once(name: str, before: str) -> AliasChoices:
    """Return the names under which a field is read: its own, and the one that it has in files of earlier versions."""
    return AliasChoices(name, before)


class Record(BaseModel):
    """Base of what is recorded: immutable, strict about its keys, without NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


AnyRecord = TypeVar("AnyRecord", bound=Record)


def write_record(path: Path, record: Record) -> None:
    """Write ``record`` as JSON with the hash of its content, atomically."""
    write_json(path, sealed(record.model_dump(mode="json")))


def create_record(path: Path, record: Record) -> None:
    """Write ``record`` like ``write_record``, if there is no file ``path`` yet.

    Raises:
        FileExistsError: there is one, which is kept.
    """
    create_json(path, sealed(record.model_dump(mode="json")))


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return ``content`` with its hash as the last entry."""
    return {**content, SEAL: content_hash(content)}


def unsealed(value: Any, path: Path, run: Path) -> tuple[Any, bool]:
    """Check the hash in ``value``, the JSON content of the file ``path`` in the folder ``run``.

    Returns:
        The content without its hash, and whether it had one. Files of earlier versions have none, which is said once
        for each folder.

    Raises:
        ThinwireError: the content is not what was hashed.
    """
    if not isinstance(value, dict) or SEAL not in value:
        say_not_checked(run)
        return value, False
    content = {name: one for name, one in value.items() if name != SEAL}
    if content_hash(content) != value[SEAL]:
        raise damaged(path, f"its content does not have the hash that it was written with ({SEAL})")
    return content, True


def damaged(path: Path, why: str) -> ThinwireError:
    """Return the error of a file that is not as it was written."""
    return ThinwireError(f"{path} is damaged: {why}; put an undamaged copy in its place")


@cache
def say_not_checked(run: Path) -> None:
    """Warn, once for each folder, that its files carry no hashes."""
    logger.warning("%s was made before files carried hashes of their content; damage to it is not checked", run)


def read_record(
    cls: type[AnyRecord],
    path: Path,
    what: str,
    run: Path,
    *,
    needs_hash: Callable[[AnyRecord], bool] = lambda _: False,
) -> AnyRecord:
    """Read what ``write_record`` wrote into the folder ``run``.

    Args:
        what: the content in words, for the message: ``record of an arm``.
        needs_hash: whether a record is of a version that wrote the hash of its content.

    Raises:
        ThinwireError: the file cannot be read, is damaged, incomplete, or has unknown or invalid entries; the first of
            these is named.
    """
    content, is_sealed = unsealed(read_json(path, within=run), path, run)
    record = parse_record(cls, content, path, what)
    if needs_hash(record) and not is_sealed:
        raise hash_missing(path)
    return record


def carries_hashes(run: Path) -> bool:
    """Return whether the files of the folder ``run`` carry hashes, by its ``sweep.json``; False if there is none.

    Raises:
        ThinwireError: that file cannot be read.
    """
    if not os.path.lexists(run / HEADER_FILE):
        return False
    header = read_json(run / HEADER_FILE, within=run)
    return isinstance(header, dict) and SEAL in header


def hash_missing(path: Path) -> ThinwireError:
    """Return the error of a file that does not carry the hash that it was written with."""
    return damaged(path, f"the hash of its content ({SEAL}) is missing")


def parse_record(cls: type[AnyRecord], value: Any, path: Path, what: str) -> AnyRecord:
    """Validate ``value``, the JSON content of the file ``path``, as ``cls``; nothing is converted to another type.

    Args:
        what: the content in words, for the message: ``record of an arm``.

    Raises:
        ThinwireError: it is not complete, or has unknown or invalid entries; the first of these is named.
    """
    try:
        return cls.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ThinwireError(f"{path} is no complete {what} ({complaint(first, first['loc'])})") from None
