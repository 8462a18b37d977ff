"""Name the results of a comparison: ``NAME=PATH``, or a path that is named after its file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from thinwire.errors import UsageError, shown
from thinwire.inputs import check_path


def split_label(argument: str) -> tuple[str | None, Path]:
    """Return the name, None where it has none, and the path of an argument.

    A path that exists is a path, whatever it holds; a name has no separator of folders.
    """
    name, equals, path = argument.partition("=")
    if equals and name and path and os.sep not in name and not os.path.lexists(argument):
        return name, Path(path)
    return None, Path(argument)


def labelled(arguments: Sequence[str]) -> dict[str, list[Path]]:
    """Return the files of each result by its name, in the order given.

    Files that are given one name are runs (seeds) of one result. A file without a name has that of the file without
    its ending, or its path where several would have the same.

    Raises:
        UsageError: a path is given twice, or cannot be one.
    """
    split = [split_label(argument) for argument in arguments]
    paths = [check_path(path, "result") for _, path in split]
    real = [os.path.realpath(path) for path in paths]
    if twice := [path for path, one in zip(paths, real, strict=True) if real.count(one) > 1]:
        raise UsageError(f"{twice[0]} is given twice; name each result once")
    stems = [name or (path.resolve().name if path.is_dir() else path.stem) for name, path in split]
    found: dict[str, list[Path]] = {}
    for (name, path), stem in zip(split, stems, strict=True):
        label = name or (stem if stems.count(stem) == 1 else str(path))
        if not label.isprintable():
            raise UsageError(f"the name {shown(label)} holds characters that cannot be printed; give another one")
        found.setdefault(label, []).append(path)
    return found
