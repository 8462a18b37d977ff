"""The formats of results that can be compared, in one table, and reading a path by it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from thinwire.errors import UsageError
from thinwire.inputs import NoFileError
from thinwire.items.arm_folder import is_arm_folder, read_arm_folder
from thinwire.items.inspect_log import read_eval, read_json_log
from thinwire.items.item_scores import Choice, FileScores
from thinwire.items.json_lines import json_lines
from thinwire.items.lm_eval import has_samples, is_lm_eval_row, read_run_folder, read_samples
from thinwire.items.plain import read_csv, read_plain_lines


class Format(NamedTuple):
    """A format of results."""

    what: str
    """In words, for a list of all."""
    ending: str
    """Of the file's name, in lower case; empty for a folder."""
    applies: Callable[[Path], bool]
    """Whether a path with this ending has the format."""
    read: Callable[[Path, Choice], FileScores]


def _always(path: Path) -> bool:
    return True


def _begins_with_a_sample_of_lm_eval(path: Path) -> bool:
    first = next(json_lines(path, "file of scores"), None)
    return first is not None and is_lm_eval_row(first.fields)


FORMATS = (
    Format("the folder of an arm of a sweep", "", is_arm_folder, read_arm_folder),
    Format("the output folder of an lm-eval run with --log_samples", "", _always, read_run_folder),
    Format("samples_*.jsonl of lm-eval", ".jsonl", _begins_with_a_sample_of_lm_eval, read_samples),
    Format("a .jsonl of objects with id and score", ".jsonl", _always, read_plain_lines),
    Format("a .csv with columns id and score", ".csv", _always, read_csv),
    Format("an .eval log of Inspect", ".eval", _always, read_eval),
    Format("a .json log of Inspect", ".json", _always, read_json_log),
)
"""In the order in which they are tried."""

_ENDINGS = {one.ending for one in FORMATS if one.ending}


def may_be_scores(path: Path) -> bool:
    """Whether a path is, or by its name would be, in one of the formats: a file, or a folder of an arm or samples."""
    if path.is_dir():
        return is_arm_folder(path) or has_samples(path)
    return path.is_file() or path.suffix.lower() in _ENDINGS


def check_exists(path: Path) -> None:
    """Refuse a path at which there is nothing.

    Raises:
        NoFileError: there is nothing.
    """
    if not os.path.lexists(path):
        raise NoFileError(f"no file or folder {path}; expected results to compare")


def read_scores(path: Path, choice: Choice) -> FileScores:
    """Read the scores of a file or folder in the first format that it has.

    Raises:
        UsageError: it has none of the formats, or what the format's reader raises.
    """
    check_exists(path)
    is_folder = path.is_dir()
    for one in FORMATS:
        if (is_folder if not one.ending else one.ending == path.suffix.lower()) and one.applies(path):
            return one.read(path, choice)
    raise UsageError(f"{path} has none of the formats that can be compared: {'; '.join(one.what for one in FORMATS)}")
