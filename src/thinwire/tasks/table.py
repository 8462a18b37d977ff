"""All tasks, by name."""

from __future__ import annotations

from collections.abc import Mapping

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
