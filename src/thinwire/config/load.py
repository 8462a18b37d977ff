"""Load an experiment: the file that it extends, its own settings, then those of the command line."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from thinwire import __version__
from thinwire.config.experiment import Experiment
from thinwire.config.shipped import is_file_of, names_near, shipped_experiment
from thinwire.config.strict_yaml import parse_yaml
from thinwire.errors import UsageError, shown
from thinwire.inputs import NoFileError, check_path, read_text
from thinwire.schema import build, merge, nearest

logger = logging.getLogger(__name__)

_MOST_BYTES = 1 << 20
"""Of an experiment file: the longest that a person writes is far below, and reading YAML is slow."""

_MOST_FILES = 20
"""That lead to each other by ``extends``."""


def load_experiment(
    path: Path,
    overrides: Iterable[str] = (),
    settings: Mapping[str, Any] | None = None,
    *,
    new: Collection[str] = (),
) -> Experiment:
    """Read an experiment file and apply ``path.to.key=value`` overrides (values are YAML), or values by their paths.

    A file may name another with ``extends``, relative to itself, and then contains only its changes to that one.
    Where there is no such file, either may be the name of an experiment that ships with the package. Settings are
    validated only after all files are merged.

    Args:
        new: names of arms that overrides may add to those of the files; for others there is a warning, as a misspelt
            name would be an arm of its own.

    Raises:
        UsageError: a file is missing, is no YAML mapping or extends itself, a key is unknown, or a value is out of
            range.
    """
    data = _read(_located(path))
    known = _names(data)
    for override in overrides:
        _set(data, override)
    for name, value in (settings or {}).items():
        _put(data, name, value)
    experiment = build(Experiment, data, where="")
    for name in _names(data):
        if name not in known and name not in new:
            message = (
                "the settings given add %r to the arms and controls of %s%s; if that is meant, put it into the file"
            )
            logger.warning(message, name, path, nearest(name, known))
    return experiment


def _names(data: Mapping[str, Any]) -> list[str]:
    """Return the names of the arms and controls in settings that may be invalid."""
    groups = [data.get("arms"), data.get("controls")]
    return [name for group in groups if isinstance(group, Mapping) for name in group if isinstance(name, str)]


def _located(path: Path) -> Path:
    """Return the file of a shipped experiment if that is what ``path`` names, else ``path``."""
    if is_file_of(path) or (shipped := shipped_experiment(str(path))) is None:
        return path
    logger.info("experiment %s of Thinwire %s; there is no file of that name here", path, __version__)
    return shipped


def _read(path: Path) -> dict[str, Any]:
    """Merge the settings of ``path`` into those of the files that it extends."""
    read, layers, seen = [path], [], set()
    while True:
        data = _mapping(read)
        file = read[-1].stat()
        if (file.st_dev, file.st_ino) in seen:
            raise UsageError(f"{read[-1]} extends itself ({' -> '.join(map(str, read))}); take one 'extends' out")
        seen.add((file.st_dev, file.st_ino))
        layers.append(data)
        if "extends" not in data:
            break
        base = data.pop("extends")
        if not isinstance(base, str):
            raise UsageError(f"{read[-1]}: extends takes the path of one experiment file, got {shown(base)}")
        if len(read) == _MOST_FILES:
            raise UsageError(f"{path} extends {_MOST_FILES} files, one after the other; put some into one")
        beside = read[-1].parent / check_path(base, f"file that {read[-1]} extends")
        shipped = None if is_file_of(beside) else shipped_experiment(base)
        read.append(shipped or beside)
    merged: dict[str, Any] = {}
    for data in reversed(layers):
        merged = merge(merged, data)
    return merged


def _mapping(read: list[Path]) -> dict[str, Any]:
    """Read the last of the files that lead to each other by ``extends``."""
    path, before = read[-1], read[-2] if len(read) > 1 else None
    what = f"experiment file that {before} extends," if before else "experiment file"
    try:
        text = read_text(path, what, most_bytes=_MOST_BYTES)
    except NoFileError:
        if before:
            message = f"{before} extends {path}, which does not exist; give a path relative to the first"
            raise UsageError(f"{message}, or the name of an experiment{names_near(path)}") from None
        raise UsageError(f"no experiment file {path}{names_near(path)}") from None
    data = parse_yaml(text, f"{path} is not a readable YAML file")
    if not isinstance(data, dict):
        raise UsageError(f"{path} holds a {type(data).__name__}, expected a mapping of settings")
    return data


def _set(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    path = path.strip()
    if not equals or not all(path.split(".")) or not path.isprintable() or " " in path:
        raise UsageError(f"--set takes path.to.key=value, got {shown(override)}")
    if not text.strip():
        raise UsageError(f"--set {path}= has no value; write null for none, '\"\"' for an empty text")
    _put(data, path, parse_yaml(text, f"--set {path}: {shown(text)} is no YAML value"))


def _put(data: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path, and make the groups on the way that are not there."""
    *groups, last = path.split(".")
    for depth, group in enumerate(groups):
        inner = data.get(group)
        if inner is None:
            inner = data[group] = {}
        if not isinstance(inner, dict):
            raise UsageError(f"{path} cannot be set: {'.'.join(groups[: depth + 1])} is a single value, not a group")
        data = inner
    data[last] = value
