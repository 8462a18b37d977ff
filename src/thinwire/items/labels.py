"""Name the results of a comparison: ``NAME=PATH``, or a path that is named after its file or arm."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from thinwire.errors import UsageError, shown
from thinwire.inputs import check_path
from thinwire.items.arm_folder import arm_in, is_arm_folder


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

    Files that are given one name are runs (seeds) of one result, and so are folders of seeds of one arm. A file without
    a name has that of the file without its ending, a folder of an arm that of the arm; or their paths where several
    would have the same.

    Raises:
        UsageError: a path is given twice or cannot be one, or a result without a name has that of another.
        ThinwireError: the record of an arm is damaged.
    """
    split = [split_label(argument) for argument in arguments]
    paths = [check_path(path, "result") for _, path in split]
    real = [os.path.realpath(path) for path in paths]
    if twice := [path for path, one in zip(paths, real, strict=True) if real.count(one) > 1]:
        raise UsageError(f"{twice[0]} is given twice; name each result once")
    given = {name for name, _ in split}
    results = [arm_in(path) if is_arm_folder(path) else path for path in paths]
    stems = [
        name or (own.resolve().name if path.is_dir() else path.stem)
        for (name, path), own in zip(split, results, strict=True)
    ]
    found: dict[str, list[Path]] = {}
    for (name, path), own, stem in zip(split, results, stems, strict=True):
        same = {other for other, one in zip(results, stems, strict=True) if one == stem}
        label = name or (stem if len(same) == 1 else str(own))
        if name is None and label in given:
            raise UsageError(f"{label} is the name of another result; give {path} one of its own: NAME={path}")
        if not label.isprintable():
            raise UsageError(f"the name {shown(label)} holds characters that cannot be printed; give another one")
        found.setdefault(label, []).append(path)
    return found
