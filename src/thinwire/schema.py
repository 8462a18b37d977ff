"""Base class and validation of settings: immutable, no unknown keys, one readable line per error."""

from __future__ import annotations

import difflib
import json
import numbers
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thinwire.errors import UsageError, shown

Auto = Literal["auto"]
PositiveInt = Annotated[int, Field(gt=0, le=1_000_000_000)]
Tokens = Annotated[int, Field(gt=0, le=10_000_000)]
Width = Annotated[int, Field(gt=0, le=1_000_000)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class ByDevice:
    """The values of ``auto`` on CUDA and on other devices, for the annotated setting; ``config.auto`` resolves them."""

    cuda: int
    cpu: int


class Section(BaseModel):
    """A group of settings: immutable; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    named_changes: ClassVar[Mapping[str, type[Section]]] = {}
    """Settings that map names to changes of a group, as ``arms`` does, with the class of that group."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former names of settings in this group, with the current name."""

    shared: ClassVar[frozenset[str]] = frozenset()
    """Settings of the whole experiment, which are refused in this group with a message that says so."""


AnySection = typing.TypeVar("AnySection", bound=Section)


def build(cls: type[AnySection], data: Mapping[str, Any], where: str) -> AnySection:
    """Validate ``data`` as ``cls``.

    Args:
        where: path of the group in the experiment, for messages.

    Raises:
        UsageError: a key is unknown or a value is invalid; one line per error, starting with the setting's path.
    """
    _refuse_unknown_keys(cls, data, where)
    try:
        # As JSON, whose strict types take an integer for a number and a list for a tuple, but nothing else for another.
        return cls.model_validate_json(json.dumps(data, default=_as_json), strict=True)
    except ValidationError as error:
        by_path: dict[str, list[Any]] = {}
        for item in error.errors():
            by_path.setdefault(_path(item, where), []).append(item)
        lines = [line for path, items in by_path.items() for line in _complaints(path, items)]
        raise UsageError(*lines) from None


def _as_json(value: object) -> Any:
    """Write a value that a program set and JSON does not know: a group, or a number of NumPy's types."""
    if isinstance(value, Section):
        return value.model_dump(mode="json")
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise UsageError(f"{shown(value)} is no value of a setting; give a number, a text, true or false, or a list")


def _path(item: Any, where: str) -> str:
    # For a union, pydantic adds the member type to the location; those parts are types, not settings.
    parts = [part for part in item["loc"] if isinstance(part, str) and not _TYPE.fullmatch(part)]
    return ".".join([where, *parts] if where else parts)


_TYPE = re.compile(r"int|float|bool|str|constrained-.*|literal\[.*|tuple\[.*|function-.*|\[key\]")
"""What pydantic puts into the location of an error for a member of a union, or for a key."""

_EXPECTED = "Input should be "
_WORDS = {"a valid tuple": "a list", "a valid array": "a list", "a valid dictionary": "a mapping"}
_WORDS |= {"an object": "a mapping", "a valid string": "a text"}
"""What pydantic calls the types of YAML values, and what a file's author calls them."""


def _complaints(path: str, items: list[Any]) -> Iterator[str]:
    """Write the errors of one setting, which are several for a union, as one line, or a line for each that a validator
    found."""
    # A list whose items are wrong counts as one without them.
    items = [item for item in items if item["type"] != "too_short"] or items
    first = items[0]
    if first["type"] == "too_short" and isinstance(first["input"], list):
        least = first["ctx"]["min_length"]
        yield f"{path}: has {first['ctx']['actual_length']} values; give {least} or more, or leave the setting out"
        return
    if first["type"] == "missing":
        yield f"{path} is required; set it"
        return
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "value_error":
        for line in map(str, first["ctx"]["error"].args):
            yield line if not path or line.startswith(f"{path}.") else f"{path}: {line}"
        return
    expected = [str(item["msg"]).removeprefix(_EXPECTED) for item in items]
    if len(items) > 1:
        expected = [one.partition(", unable to")[0] for one in expected]
    prefix = _EXPECTED if message.startswith(_EXPECTED) else ""
    yield f"{path}: {prefix}{' or '.join(_WORDS.get(one, one) for one in expected)}, got {shown(first['input'])}"


def _refuse_unknown_keys(cls: type[Section], data: Mapping[str, Any], where: str) -> None:
    for key, value in data.items():
        if not isinstance(key, str):
            raise UsageError(f"{where or 'the experiment'} has the key {shown(key)}, which is no text; use a name")
        path = f"{where}.{key}" if where else key
        field = cls.model_fields.get(key)
        if field is None:
            if new := cls.renamed.get(key):
                renamed = new if "." in new or not where else f"{where}.{new}"
                raise UsageError(f"the setting {shown(path)} is now called {renamed}")
            if key in cls.shared:
                raise UsageError(
                    f"the setting {shown(path)} belongs to the whole experiment and is the same for all arms; "
                    f"set {key} at the top level of the experiment"
                )
            valid = list(cls.model_fields)
            raise UsageError(f"unknown setting {shown(path)}{nearest(key, valid)}; valid here: {', '.join(valid)}")
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            if isinstance(value, Mapping):
                _refuse_unknown_keys(section, value, path)
            elif not isinstance(value, section):
                raise UsageError(f"{path} is a group of settings, got {shown(value)}; set {path}.<key> instead")
        elif key in cls.named_changes and isinstance(value, Mapping):
            for name, changes in value.items():
                if isinstance(changes, Mapping):
                    _refuse_unknown_keys(cls.named_changes[key], changes, f"{path}.{name}")
                elif changes is not None:
                    raise UsageError(
                        f"{path}.{name} is a mapping of changes, got {shown(changes)}; set its keys instead"
                    )


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return " (did you mean ...?)" with the most similar of the ``valid`` names, or "" if none is similar."""
    if len(name) > 200:  # comparing takes time that grows with its square
        return ""
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``changes`` into ``base``: groups of settings are merged key by key, all other values are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def nested(path: str, value: Any) -> dict[str, Any]:
    """Return the change of one setting: ``{"lora": {"rank": 8}}`` for the path ``lora.rank``."""
    for name in reversed(path.split(".")):
        value = {name: value}
    changes: dict[str, Any] = value
    return changes


def leaves(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each single setting: ``("lora.rank", 8)``.

    Args:
        before: what the paths begin with, its last dot included.
    """
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
