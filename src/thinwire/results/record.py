"""Base class of what is recorded in JSON files, and reading it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from thinwire.errors import ThinwireError


class Record(BaseModel):
    """Base of what is recorded: immutable, strict about its keys, without NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


AnyRecord = TypeVar("AnyRecord", bound=Record)


def parse_record(cls: type[AnyRecord], value: Any, path: Path, what: str) -> AnyRecord:
    """Validate ``value``, the JSON content of the file ``path``, as ``cls``.

    Args:
        what: the content in words, for the message: ``record of an arm``.

    Raises:
        ThinwireError: it is not complete, or has unknown or invalid entries; the first of these is named.
    """
    try:
        return cls.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ThinwireError(f"{path} is no complete {what} ({where}: {first['msg']})") from None
