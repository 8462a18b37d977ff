"""The options of questions that have a task: labels of a classification, choices of multiple-choice questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from thinwire.data.squad import Example
from thinwire.errors import UsageError, shown
from thinwire.tasks.task import Task

_MOST_LABELS = 200
"""More different answers are no labels, but answers in one's own words."""


def labels_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """Return all answers of a classification's training questions, in alphabetical order.

    Raises:
        UsageError: there is one alone, or there are too many to be labels.
    """
    labels = sorted({answer for example in examples for answer in example.answers})
    if not 2 <= len(labels) <= _MOST_LABELS:
        raise UsageError(
            f"task=classification found {len(labels)} different answers in the training data (first "
            f"{shown(labels[0], 40)}), expected 2 to {_MOST_LABELS} labels; for answers in one's own words take "
            "task=short_answer"
        )
    return tuple(labels)


def with_labels(examples: Sequence[Example], labels: tuple[str, ...]) -> list[Example]:
    """Return the questions with ``labels`` as their options.

    Raises:
        UsageError: an answer is none of them.
    """
    known = set(labels)
    for example in examples:
        if strangers := sorted(set(example.answers) - known):
            raise UsageError(
                f"question {example.id}: the label {shown(strangers[0], 40)} is none of the {len(labels)} that the "
                "training data have; leave such questions out, or add training questions with it"
            )
    return [replace(example, choices=labels) for example in examples]


def with_options(task: Task, examples: Sequence[Example], labels: tuple[str, ...] | None) -> list[Example]:
    """Return the questions with the options that the task needs.

    Args:
        labels: those of the training questions; not used by tasks without labels.

    Raises:
        UsageError: a question has no option to be chosen, or an answer that is no label.
    """
    if task.has_labels:
        return with_labels(examples, labels or labels_of(examples))
    check_options(task, examples)
    return list(examples)


def check_options(task: Task, examples: Sequence[Example]) -> None:
    """Refuse questions without options where one is to be chosen.

    Raises:
        UsageError: one has none.
    """
    if task.answered_by == "choice" and (bare := next((one for one in examples if not one.choices), None)):
        raise UsageError(
            f"question {bare.id}: task={task.name} needs the options of each question; name their column: "
            "data.columns.choices=COLUMN (evaluate: --columns choices=COLUMN)"
        )
