"""List the settings of an experiment, from their types and docstrings, also as a Markdown page."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.errors import UsageError
from thinwire.schema import ByDevice, Section, nearest


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting of an experiment."""

    path: str
    """The name for ``--set`` and in an experiment file: ``lora.rank``."""
    values: str
    """The valid values, in words."""
    default: str
    """The default as YAML."""
    description: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group of settings."""

    path: str
    """Empty for the experiment itself."""
    description: str
    settings: list[Setting]


def setting_groups() -> list[Group]:
    """Return all groups of settings in the order of an experiment file: those that arms may change, then the shared
    ones."""
    shared = [name for name in Experiment.model_fields if name not in ArmConfig.model_fields]
    top = [*_groups(ArmConfig, "", list(ArmConfig.model_fields)), *_groups(Experiment, "", shared)]
    return [group for group in top if group.settings]


def settings_below(path: str | None = None) -> list[Setting]:
    """Return the setting or the settings of the group ``path``, those of its groups included; all if it is None.

    Raises:
        UsageError: there is none.
    """
    groups = setting_groups()
    known = [setting for group in groups for setting in group.settings]
    found = [one for one in known if path is None or one.path == path or one.path.startswith(f"{path}.")]
    if not found:
        assert path is not None, "there are settings"
        names = [name for name in (*(group.path for group in groups), *(one.path for one in known)) if name]
        raise UsageError(f"no setting or group of settings is called {path!r}{nearest(path, names)}")
    return found


def settings_page() -> str:
    """Return the settings page, docs/guide/settings.md."""
    parts = [
        "# Settings",
        "Every setting of an experiment file; made from the settings' docstrings by `thinwire settings --markdown`.",
        "A file holds the defaults of its arms at the top level; below `arms` and `controls` it names what each of "
        "them changes. On the command line, `--set PATH=VALUE` changes one: `--set lora.dropout=0`, or for one arm "
        "`--set arms.r8_a16_full.training.lora_lr=3e-4`. An unknown setting is an error that names the nearest one.",
    ]
    for group in setting_groups():
        parts.append(f"## {'`' + group.path + '`' if group.path else group.description}")
        if group.path:
            parts.append(group.description)
        rows = [f"| `{s.path}` | {s.values} | {s.default} | {s.description} |" for s in group.settings]
        parts.append("\n".join(["| setting | values | default | |", "| --- | --- | --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def _groups(section: type[Section], path: str, names: list[str]) -> Iterator[Group]:
    settings, inner = [], []
    for name in names:
        field = section.model_fields[name]
        here = f"{path}.{name}" if path else name
        if group := _section_in(field.annotation):
            inner.append((here, group))
        else:
            settings.append(
                Setting(
                    path=here,
                    values=_values(field),
                    default=_default(field),
                    description=_one_line(field.description or ""),
                )
            )
    yield Group(path=path, description=_one_line(section.__doc__ or ""), settings=settings)
    for here, group in inner:
        yield from _groups(group, here, list(group.model_fields))


def _section_in(annotation: Any) -> type[Section] | None:
    """Return the group of settings that a field holds, if it holds one, also where the group may be missing."""
    if typing.get_origin(annotation) in (dict, Mapping, tuple):
        return None
    choices = typing.get_args(annotation) or (annotation,)
    return next((one for one in choices if isinstance(one, type) and issubclass(one, Section)), None)


def _values(field: FieldInfo) -> str:
    limits = [limit for constraint in field.metadata if (limit := _limit(constraint))]
    return f"{_type(field.annotation)} {', '.join(limits)}".strip()


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = [limit for constraint in arguments[1:] if (limit := _limit(constraint))]
        return f"{_type(arguments[0])} {', '.join(limits)}".strip()
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_type, arguments))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin in (dict, Mapping):
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return f"`{{{', '.join(annotation.model_fields)}}}`"
    names = {int: "integer", float: "number", str: "text", bool: "`true` or `false`", type(None): "`null`"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _limit(constraint: object) -> str:
    if isinstance(constraint, ByDevice):
        return ""
    if isinstance(constraint, FieldInfo):
        return ", ".join(limit for inner in constraint.metadata if (limit := _limit(inner)))
    if isinstance(constraint, annotated_types.Gt):
        return f"> {constraint.gt}"
    if isinstance(constraint, annotated_types.Ge):
        return f">= {constraint.ge}"
    if isinstance(constraint, annotated_types.Lt):
        return f"< {constraint.lt}"
    if isinstance(constraint, annotated_types.Le):
        return f"<= {constraint.le}"
    return ""


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    value = field.default
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`" if value != "" else ""


def _one_line(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())
