"""Load an experiment: the file that it extends, its own settings, then those of the command line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from thinwire.config.experiment import Experiment
from thinwire.errors import UsageError
from thinwire.schema import build, merge


def load_experiment(path: Path, overrides: Iterable[str] = ()) -> Experiment:
    """Read an experiment file and apply ``path.to.key=value`` overrides (values are YAML).

    A file may name another with ``extends``, relative to itself, and then contains only its changes to that one.
    Settings are validated only after all files are merged.

    Raises:
        UsageError: a file is missing, is no YAML mapping or extends itself, a key is unknown, or a value is out of
            range.
    """
    data = _read(path, extended_by=())
    for override in overrides:
        _set(data, override)
    return build(Experiment, data, where="")


def _read(path: Path, extended_by: tuple[Path, ...]) -> dict[str, Any]:
    """Merge the settings of ``path`` into those of the file that it extends.

    Args:
        extended_by: the files that led to ``path`` through ``extends``.
    """
    if path.resolve() in [other.resolve() for other in extended_by]:
        chain = " -> ".join(map(str, (*extended_by, path)))
        raise UsageError(f"{path} extends itself ({chain}); take one 'extends' out")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if extended_by:
            message = f"{extended_by[-1]} extends {path}, which does not exist; give a path relative to the first"
            raise UsageError(message) from None
        raise UsageError(f"no experiment file {path}; the plan's is experiments/phase1a_lora.yaml") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} is not a readable YAML file: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path} holds a {type(data).__name__}, expected a mapping of settings")
    if "extends" not in data:
        return data
    base = data.pop("extends")
    if not isinstance(base, str):
        raise UsageError(f"{path}: extends takes the path of one experiment file, got {base!r}")
    return merge(_read(path.parent / base, (*extended_by, path)), data)


def _set(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise UsageError(f"--set takes path.to.key=value, got {override!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {path}: {text!r} is no YAML value: {error}") from None
    *groups, last = path.strip().split(".")
    for depth, group in enumerate(groups):
        inner = data.get(group)
        if inner is None:
            inner = data[group] = {}
        if not isinstance(inner, dict):
            raise UsageError(f"--set {path}: {'.'.join(groups[: depth + 1])} is a single value, not a group")
        data = inner
    data[last] = value
