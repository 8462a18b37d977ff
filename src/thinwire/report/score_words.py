"""What reports call the scores of a task, where its label alone will not do."""

from __future__ import annotations

from thinwire.tasks.task import Task


def is_squad(task: Task) -> bool:
    """Whether the score is SQuAD's own, which readers know."""
    return task.metric == "f1"


def names(task: Task, joined: str) -> str:
    """Name the scores that are shown: ``F1 and EM``, or the task's own score alone where EM says no more."""
    return f"{task.label}{joined}EM" if task.shows_exact_match else task.label


def begins(label: str) -> str:
    """Write a label as a sentence begins with it: ``Accuracy``."""
    return label[0].upper() + label[1:]


def rate_caveat(task: Task) -> str:
    """Say what questions answered in a second depend on beside the arm's speed; empty where answers are not decoded."""
    if not task.has_texts:
        return ""
    return (
        "Questions/s also depends on how long the answers are: an arm whose answers are degenerate, such as empty ones,"
        " is not comparable."
    )


def with_article(label: str) -> str:
    """Write a label behind its article: ``an F1``, ``an accuracy``, ``a ROUGE-L``."""
    return f"{'an' if label[0].lower() in 'aeiouf' else 'a'} {label}"  # F is said "eff"
