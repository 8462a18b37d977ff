"""Make contexts long: put other paragraphs of the same article around the one that a question is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from thinwire.data.squad import Example
from thinwire.errors import UsageError
from thinwire.seeding import stream
from thinwire.tasks.task import TaskName

BETWEEN = "\n\n"
"""Stands between two paragraphs of a context."""

_TASKS: frozenset[TaskName] = frozenset({"extractive_qa", "short_answer", "multiple_choice"})
"""Tasks whose questions are about something in the context. What is true of a text as a whole, its label or summary, is
another where others stand beside it."""


def with_distractors(examples: Sequence[Example], split: Sequence[Example], num: int, seed: int) -> list[Example]:
    """Return ``examples`` with ``num`` other paragraphs of their articles in each context, in random order.

    A context is the same for all questions about one paragraph, and does not depend on which of them are asked. Those
    of a smaller ``num`` are among those of a larger one. An article with fewer paragraphs gives all that it has.

    Args:
        examples: questions of ``split``.
        split: all questions of it; other paragraphs are taken from their contexts, each different text once.

    Returns:
        The questions in their order. Their first answers begin where they stand in the new contexts; articles and
        paragraph ids are those of the own paragraphs.
    """
    articles = _paragraphs_by_article(split)
    made: dict[tuple[str, str], tuple[str, int]] = {}  # the context, and where the own paragraph begins in it
    found = []
    for example in examples:
        key = example.article, example.context
        if key not in made:
            made[key] = _joined(*key, articles[example.article], num, seed)
        context, begin = made[key]
        start = begin + example.answer_start if example.answer_start >= 0 else example.answer_start
        found.append(replace(example, context=context, answer_start=start))
    return found


def check_distractors(task: TaskName, split: Sequence[Example], questions: str) -> None:
    """Refuse questions to which distractors cannot be given.

    Args:
        split: all questions of a split.
        questions: what they are, in words, for messages.

    Raises:
        UsageError: the task's questions are not about something in a context, a question has no context, or no article
            has more than one paragraph.
    """
    if task not in _TASKS:
        raise UsageError(
            f"data.distractors is for the tasks {', '.join(sorted(_TASKS))}, whose questions are about something in "
            f"the context; task is {task}: set data.distractors=0"
        )
    without = next((example.id for example in split if not example.context or not example.question), None)
    if without is not None:
        raise UsageError(
            f"data.distractors puts other paragraphs beside that of a question, but question {without} of the "
            f"{questions} is not a question about a context; set data.distractors=0"
        )
    check_other_paragraphs(split, questions, "data.distractors")


def check_other_paragraphs(split: Sequence[Example], questions: str, setting: str) -> None:
    """Refuse distractors where no article has any; arguments as in ``check_distractors``.

    Args:
        setting: the one that asks for them, by its path.

    Raises:
        UsageError: no article has more than one paragraph.
    """
    if all(len(paragraphs) < 2 for paragraphs in _paragraphs_by_article(split).values()):
        raise UsageError(
            f"{setting} takes other paragraphs of the same article, but no article of the {questions} has two; "
            f"name articles by titles (data.columns.title), or set {setting}=0"
        )


def _paragraphs_by_article(split: Sequence[Example]) -> dict[str, list[str]]:
    """Return the different contexts of each article, sorted, so that their order in the data makes no difference."""
    found: dict[str, set[str]] = {}
    for example in split:
        found.setdefault(example.article, set()).add(example.context)
    return {article: sorted(contexts) for article, contexts in found.items()}


def _joined(article: str, own: str, paragraphs: Sequence[str], num: int, seed: int) -> tuple[str, int]:
    """Return a context that holds ``own`` among ``num`` others, and the offset at which ``own`` begins in it."""
    draw = stream(seed, "distractors", article, own)
    place = draw.random()
    others = [paragraph for paragraph in paragraphs if paragraph != own]
    draw.shuffle(others)
    others = others[:num]
    before = int(place * (len(others) + 1))
    begin = sum(len(paragraph) + len(BETWEEN) for paragraph in others[:before])
    return BETWEEN.join([*others[:before], own, *others[before:]]), begin
