"""Read the scores of an arm or control of a sweep from its folder, so that any two can be compared, also of two sweeps.

What is compared is the score of each test question. Questions of one paragraph belong together.
"""

from __future__ import annotations

import os
from pathlib import Path

from thinwire.errors import UsageError, all_shown, shown
from thinwire.items.item_scores import Choice, FileScores, ScoredItem, collected
from thinwire.results.arm_record import read_arm_record
from thinwire.results.layout import RECORD_FILE, run_of
from thinwire.results.rows import read_predictions

_METRICS = ("score", "exact_match", "raw_score", "raw_exact_match")
_CLUSTER = "paragraph_id"


def is_arm_folder(path: Path) -> bool:
    """Whether a path is the folder of an arm or control."""
    return os.path.lexists(path / RECORD_FILE)


def arm_in(folder: Path) -> Path:
    """Return a path that the folders of all seeds of one arm have in common: its name in the folder of its sweep.

    Raises:
        ThinwireError: the record in ``folder`` is damaged.
    """
    return Path(os.path.relpath(os.path.realpath(run_of(folder)))) / read_arm_record(folder).arm


def read_arm_folder(folder: Path, choice: Choice) -> FileScores:
    """Read the scores of an arm's test questions, by default those of the task, clustered by paragraph.

    Raises:
        UsageError: the arm is not done, or another score or cluster is asked for than there is.
        ThinwireError: record or answers are damaged.
    """
    if choice.task is not None:
        raise UsageError(f"{folder} is the folder of an arm, which has one task; --task is for folders of lm-eval")
    metric, cluster = choice.metric or _METRICS[0], choice.cluster or _CLUSTER
    if metric not in _METRICS:
        raise UsageError(f"{folder} has no score {shown(metric)}; choose --metric among {all_shown(_METRICS)}")
    if cluster != _CLUSTER:
        raise UsageError(f"{folder} has no cluster {shown(cluster)} (--cluster); expected {_CLUSTER}; leave it out")
    record = read_arm_record(folder)
    if record.status != "done":
        raise UsageError(f"the arm in {folder} is {record.status}, and has no scores to compare; run it first")
    items = (
        ScoredItem(
            id=row["id"],
            score=row[metric],
            place=f"answer {number}",
            cluster=row[_CLUSTER],
            content=row["question"],
        )
        for number, row in enumerate(read_predictions(folder, record), start=1)
    )
    label = record.task.label if metric == _METRICS[0] else metric
    return FileScores(items=collected(items, str(folder)), tool="thinwire", metric=label)
