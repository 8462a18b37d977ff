"""The user's message of a prompt: literal text, and the places of a question's context, question and choices in it.

A user's own template (``prompt.template``) is a program in Jinja. As a chat template does, it runs only in a confined
process, on a few contents: from what it writes for them it is known what stands around contents, and messages are then
put together without it. A template for which this does not hold, because what it writes depends on the words of a
content, is refused. Whether there is a content may decide: there is a ``PromptTemplate`` for every combination.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple, get_args

from thinwire.data.confined import Limits, run_confined
from thinwire.errors import UsageError, shown
from thinwire.schema import nearest
from thinwire.tasks.task import Task

Slot = Literal["context", "question", "choices"]
"""What a message is made of."""
SLOTS: tuple[Slot, ...] = get_args(Slot)

_MARKS: Mapping[Slot, str] = {"context": "Cthinwire7", "question": "Qthinwire7", "choices": "Othinwire7"}
"""Contents that no template contains."""
_MARK = re.compile("|".join(_MARKS.values()))
_CONTENTS = (
    "1843",
    "A. Once upon a time; 2: there was (or not)\nB. nothing - at all!",
    f"One line, and a long one: {'a word, ' * 10_000}1843.",
    'Two lines\n\n  with <b>"it\'s" & {{ x }}</b> {% y %} </think> [INST] <|im_end|> \u00e9\u6f22 \\, is it?',
)
"""Contents which a template must insert as they are."""
_LONGEST_TEXT = 1 << 20
"""Most characters that a template may write for one of these contents."""
_LIMITS = Limits(cpu_seconds=10, memory_bytes=1 << 30)
"""A template in use takes hundredths of a second for all contents."""


class Filled(NamedTuple):
    """A message."""

    text: str
    context_at: int | None
    """Where the context begins in ``text``; None if it is not there."""


@dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """A message with places for contents: a literal, a slot, a literal, ..., a literal."""

    literals: tuple[str, ...]
    """One more than ``slots``; may be empty."""
    slots: tuple[Slot, ...]
    """The context once at most."""

    def fill(self, *, context: str = "", question: str = "", choices: str = "") -> Filled:
        """Return the message with these contents."""
        contents = {"context": context, "question": question, "choices": choices}
        text, context_at = self.literals[0], None
        for slot, literal in zip(self.slots, self.literals[1:], strict=True):
            if slot == "context":
                context_at = len(text)
            text += contents[slot] + literal
        return Filled(text, context_at)


PromptTemplates = Mapping[frozenset[Slot], PromptTemplate]
"""Messages by the contents that there are: at least a context or a question."""

_ALL_OF = tuple(
    frozenset(found) for num in range(1, len(SLOTS) + 1) for found in combinations(SLOTS, num) if found != ("choices",)
)


def prompt_templates(source: str | None, task: Task) -> PromptTemplates:
    """Return the messages of ``prompt.template``; those of the task if it is None.

    Raises:
        UsageError: as ``templates_of_jinja``.
    """
    return _of_task(task) if source is None else templates_of_jinja(source)


def template_for(templates: PromptTemplates, there: frozenset[Slot]) -> PromptTemplate:
    """Return the message for the contents that there are.

    Raises:
        UsageError: there is nothing to ask, or nothing of it is written.
    """
    template = templates.get(there)
    if template is None:
        raise UsageError(
            "without its context (context=false) nothing is left to ask; name a column of questions "
            "(data.columns.question), or leave out arms and controls with context=false"
        )
    if not {"context", "question"} & set(template.slots):
        raise UsageError(
            f"prompt.template writes nothing of what there is ({' and '.join(sorted(there))}), only "
            f"{shown(template.literals[0], 40)}; write {{{{ {min(there - {'choices'})} }}}} into it"
        )
    return template


def _template(text: str) -> PromptTemplate:
    """Return the template that a text with marks in the places of contents stands for."""
    slots = {mark: slot for slot, mark in _MARKS.items()}
    return PromptTemplate(literals=tuple(_MARK.split(text)), slots=tuple(slots[found] for found in _MARK.findall(text)))


def _of_task(task: Task) -> PromptTemplates:
    """Return the task's own messages, which are known to insert contents as they are."""
    own = task.templates
    of_texts = {("context", "question"): own.both, ("question",): own.question, ("context",): own.context}
    return {there: _template(_marked(of_texts[tuple(sorted(there - {"choices"}))])) for there in _ALL_OF}


def _marked(template: str) -> str:
    """Return a template with marks for the variables of Jinja."""
    for slot, mark in _MARKS.items():
        template = template.replace(f"{{{{ {slot} }}}}", mark)
    return template


def templates_of_jinja(source: str) -> PromptTemplates:
    """Return the messages that a template in Jinja writes.

    Raises:
        UsageError: it is no Jinja template, names unknown variables, takes too long, writes too much, changes contents
            or tests their words, inserts the context twice, or inserts neither context nor question.
    """
    tried = list(_tried())
    found = run_confined(
        "prompt.template cannot be used",
        "prompts",
        _LIMITS,
        template=source,
        variables=SLOTS,
        longest=_LONGEST_TEXT,
        contents=[one.contents for one in tried],
    )
    if unknown := found["unknown"]:
        raise UsageError(
            f"prompt.template has no value for {shown(unknown[0])}{nearest(unknown[0], SLOTS)}; it has "
            f"{', '.join(SLOTS[:-1])} and {SLOTS[-1]}"
        )
    templates: dict[frozenset[Slot], PromptTemplate] = {}
    for one, text in zip(tried, found["texts"], strict=True):
        if one.changed is None:
            templates[one.there] = _template(text)
        elif text != templates[one.there].fill(**one.contents).text:
            raise UsageError(
                f"prompt.template does not insert the {one.changed} as it is, but changes it or tests its words (a "
                f"filter, a method, a loop, an if); write {{{{ {one.changed} }}}} alone; an if may only ask whether "
                f"there is one: {{% if {one.changed} %}}"
            )
    for template in templates.values():
        if template.slots.count("context") > 1:
            raise UsageError(
                "prompt.template inserts the context twice, so that a prompt that is too long could not be shortened; "
                "insert it once"
            )
    if not {"context", "question"} & set(templates[frozenset(SLOTS)].slots):
        raise UsageError(
            "prompt.template inserts neither context nor question, so that all prompts would be the same; write "
            "{{ context }} or {{ question }} where they are to stand"
        )
    return templates


class _Try(NamedTuple):
    """Contents with which a template is tried."""

    there: frozenset[Slot]
    changed: Slot | None
    """The content that is no mark; None if all are."""
    contents: dict[str, str]
    """Of all slots; empty where there is none."""


def _tried() -> Iterator[_Try]:
    """Yield marks for every combination of contents, each followed by other contents in the place of each mark."""
    for there in _ALL_OF:
        marks: dict[str, str] = {slot: _MARKS[slot] if slot in there else "" for slot in SLOTS}
        yield _Try(there, None, marks)
        for slot in SLOTS:
            if slot in there:
                for content in _CONTENTS:
                    yield _Try(there, slot, {**marks, slot: content})
