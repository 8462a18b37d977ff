"""All tasks, by name."""

from __future__ import annotations

from collections.abc import Mapping

from thinwire.errors import UsageError, shown
from thinwire.schema import nearest
from thinwire.tasks import classification, extractive_qa, generation, multiple_choice, perplexity, short_answer
from thinwire.tasks.task import Task, TaskName

_ALL = (
    extractive_qa.TASK,
    short_answer.TASK,
    generation.TASK,
    multiple_choice.TASK,
    classification.TASK,
    perplexity.TASK,
)

TASKS: Mapping[TaskName, Task] = {task.name: task for task in _ALL}
"""In the order in which the documentation lists them."""


def checked_task(name: str) -> TaskName:
    """Return ``name`` if it is a task's.

    Raises:
        UsageError: it is not.
    """
    for known in TASKS:
        if known == name:
            return known
    raise UsageError(f"no task called {shown(name)}{nearest(name, TASKS)}; there are: {', '.join(TASKS)}")
