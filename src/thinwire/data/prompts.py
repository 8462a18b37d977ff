"""Encode questions as token ids, with the same prompt in training and evaluation; truncation keeps question and cue.

The exception is ``prompt.truncation=right``, which exists to measure what removing them costs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from thinwire.config.settings import AnswerForm, PromptConfig, Turn
from thinwire.data.chat_template import Framing, framing, template_source
from thinwire.data.choices import listed
from thinwire.data.context_selection import check_selects_without_question, kept_tokens
from thinwire.data.continuation import Continuation
from thinwire.data.prompt_template import Filled, PromptTemplate, Slot, prompt_templates, template_for
from thinwire.data.squad import Example
from thinwire.data.text_tokens import TextTokens, Tokenizer, Tokens, added_around, first_special
from thinwire.errors import UsageError
from thinwire.tasks.extractive_qa import TASK as EXTRACTIVE_QA
from thinwire.tasks.task import Task

Style = Literal["chat", "plain"]

_AT_ONCE = 128
"""Number of prompts that are tokenised at a time; more would fill memory and be no faster."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A question as token ids."""

    example: Example
    prompt_ids: tuple[int, ...]
    """The whole prompt, including special tokens."""
    answer_ids: tuple[int, ...]
    """The first gold answer and the end token; supervision uses its first k tokens."""
    dropped: int
    """Number of tokens that truncation removed: only of the context, unless ``prompt.truncation`` is ``right``."""
    left_out: int = 0
    """Number of the context's tokens that ``prompt.context_share`` left out, before truncation."""
    context: range = range(0)
    """Where the context's own tokens, or its blocks, stand in the prompt: those that are kept."""
    positions_saved: int = 0
    """How many positions the prompt takes fewer than it has tokens (``thinwire.data.blocks``)."""

    @property
    def num_tokens(self) -> int:
        """Number of tokens in the prompt, those in blocks counted."""
        return len(self.prompt_ids) + self.positions_saved


class PromptEncoder:
    """Encodes examples in one prompt style, with that style's end token."""

    def __init__(
        self, tokenizer: Tokenizer, config: PromptConfig, task: Task = EXTRACTIVE_QA, *, with_context: bool = True
    ) -> None:
        has_template = bool(tokenizer.chat_template)
        if config.style == "chat" and not has_template:
            raise UsageError("prompt.style is chat, but this tokenizer has no chat template; set prompt.style=plain")
        is_plain = config.style == "plain" or (config.style == "auto" and task.is_plain) or not has_template
        self.style: Style = "plain" if is_plain else "chat"
        self.with_context, self.task = with_context, task
        self.config, self._tokenizer = config, tokenizer
        self._templates = prompt_templates(config.template, task)
        self._framing = framing(tokenizer, config.turns) if self.style == "chat" else _plain(config, task)
        end_id = end_of_turn_id(tokenizer) if self.style == "chat" else tokenizer.eos_token_id
        if end_id is None:
            raise UsageError("this tokenizer names no end token, so an answer could never end; use another model")
        self.end_id: int = end_id
        self._tokens = TextTokens(tokenizer, template_source(tokenizer) if self.style == "chat" else "")
        # A template writes these itself. Special tokens after a text are left out: a prompt goes on.
        self._beginning = [] if self.style == "chat" else added_around(tokenizer)[0]
        self._continuations: dict[str, Continuation] = {}
        self._known_ids: dict[tuple[AnswerForm, str, str], tuple[int, ...]] = {}
        """Of answers and options that were encoded before, as the same ones recur."""
        for number, turn in enumerate(config.turns):
            if token := self._tokens.spelled_in(turn.content):
                raise UsageError(f"prompt.turns[{number}] spells the control token {token!r}; write it without")

    @property
    def form(self) -> AnswerForm:
        """The form of answers: ``prompt.answer_form``, where ``auto``, which training questions decide
        (``decide_answer_form``), is ``space``."""
        return "bare" if self.config.answer_form == "bare" else "space"

    def with_form(self, form: AnswerForm) -> PromptEncoder:
        """Return this encoder with ``prompt.answer_form`` set to ``form``."""
        return self._with(answer_form=form)

    def shortening_contexts(self) -> PromptEncoder:
        """Return this encoder with ``prompt.truncation`` set to ``context``."""
        return self if self.config.truncation == "context" else self._with(truncation="context")

    def keeping_contexts(self) -> PromptEncoder:
        """Return this encoder for prompts of any length with all of their contexts."""
        return self._with(context_share=1.0, max_tokens=sys.maxsize)

    def _with(self, **changes: str | float) -> PromptEncoder:
        config = self.config.model_copy(update=changes)
        return PromptEncoder(self._tokenizer, config, self.task, with_context=self.with_context)

    def render(self, example: Example) -> str:
        """Return the prompt as text, with the whole context; in the chat style, it includes the special tokens.

        Raises:
            UsageError: there is nothing to be put into the prompt.
        """
        return self._framing_of(example).around(self.message(example))

    def encode(self, example: Example, *, keep_answer: bool = False) -> Encoded:
        """Encode one example, with the part of its context that ``prompt.context_share`` keeps; a prompt that is still
        longer than ``max_tokens`` is shortened as ``prompt.truncation`` says.

        Its answer has the form ``form``. Control tokens that the question's texts spell are text.

        Args:
            keep_answer: shorten the context around the gold answer instead of at its end. Only for training: in
                evaluation it would leak the answer. No effect with ``right``.

        Raises:
            UsageError: the prompt is too long even without any context, the tokenizer takes its text for control
                tokens, or there is nothing to be put into it.
        """
        return next(self.encode_all([example], keep_answer=keep_answer))

    def encode_all(self, examples: Sequence[Example], *, keep_answer: bool = False) -> Iterator[Encoded]:
        """Encode each of ``examples`` as ``encode`` does; faster than one by one."""
        for question in self.encode_prompts(examples, keep_answer=keep_answer):
            yield self.with_answer_in(self.form, question)

    def encode_message(self, message: str) -> tuple[int, ...]:
        """Encode a prompt with any ``message`` where a question and its context would stand; nothing is shortened.

        Raises:
            UsageError: the tokenizer takes its text for control tokens.
        """
        text = self._framing.around(message)
        ids, _ = self._tokens.encode(text, len(self._framing.before), len(text) - len(self._framing.after))
        return (*self._beginning, *ids)

    def encode_prompt(self, example: Example) -> Encoded:
        """Encode the prompt of an example, which need not have a gold answer, as ``encode`` does."""
        return next(self.encode_prompts([example]))

    def encode_prompts(self, examples: Sequence[Example], *, keep_answer: bool = False) -> Iterator[Encoded]:
        """Encode the prompt of each of ``examples`` as ``encode_prompt`` does; faster than one by one."""
        for start in range(0, len(examples), _AT_ONCE):
            some = examples[start : start + _AT_ONCE]
            texts = [self.render(example) for example in some]
            try:
                tokens: Sequence[Tokens | None] = self._tokens.tokenize(texts)
            except UsageError:  # then one by one, to tell which text it is
                tokens = [None] * len(texts)
            for example, text, whole in zip(some, texts, tokens, strict=True):
                yield self._encoded(example, text, whole, keep_answer=keep_answer)

    def _encoded(self, example: Example, text: str, whole: Tokens | None, *, keep_answer: bool) -> Encoded:
        """Return ``example`` encoded, whose prompt is ``text``, and ``whole`` that text's tokens."""
        filled, around = self._filled(example), self._framing_of(example)
        begin, end = len(around.before), len(text) - len(around.after)
        try:
            ids, offsets = self._tokens.encode(text, begin, end, whole)
        except UsageError as error:
            raise UsageError(f"question {example.id}: {error}") from None
        ids, offsets = [*self._beginning, *ids], [*((0, 0) for _ in self._beginning), *offsets]
        place = 0
        if filled.context_at is not None:
            stripped = len(filled.text) - len(filled.text.lstrip()) if around.strips else 0
            place = begin + filled.context_at - stripped
        end_of_context = place if filled.context_at is None else place + len(example.context.strip())
        inside = _within(offsets, place, end_of_context)
        context = range(inside[0], inside[-1] + 1) if inside else range(0)
        kept = self._kept(example, offsets, place, context)
        if left_out := len(context) - len(kept):
            at = [*range(context.start), *kept, *range(context.stop, len(ids))]
            ids, offsets = [ids[i] for i in at], [offsets[i] for i in at]
            inside = _within(offsets, place, end_of_context)
            context = context[: len(kept)]
        excess = max(0, len(ids) - self.config.max_tokens)
        if excess and self.config.truncation == "right":
            ids = ids[: self.config.max_tokens]
            context = range(min(context.start, len(ids)), min(context.stop, len(ids)))
        elif excess:
            ids = self._shorten(ids, offsets, example, place, inside, excess, keep_answer=keep_answer)
            context = context[: len(context) - excess]
        return Encoded(
            example=example, prompt_ids=tuple(ids), answer_ids=(), dropped=excess, left_out=left_out, context=context
        )

    def _kept(self, example: Example, offsets: Sequence[tuple[int, int]], begin: int, context: range) -> Sequence[int]:
        """Return where the tokens stand that ``prompt.context_share`` keeps.

        Args:
            begin: where the context begins in the text.
            context: where all its tokens stand.
        """
        share, choice = self.config.context_share, self.config.context_choice
        if share == 1 or not context:
            return context
        if not example.question:
            try:
                check_selects_without_question(self.config)
            except UsageError as error:
                raise UsageError(f"question {example.id}: {error}") from None
        places = [(a - begin, b - begin) for a, b in offsets[context.start : context.stop]]
        kept = kept_tokens(example.context.strip(), places, example.question, share, choice)
        return [context[index] for index in kept]

    def with_answer_in(self, form: AnswerForm, question: Encoded) -> Encoded:
        """Return ``question`` with the tokens of its first gold answer in this form, and the end token."""
        return replace(question, answer_ids=self._answer_ids(form, question.example, question.example.answers[0]))

    def with_option(self, option: str, question: Encoded) -> Encoded:
        """Return ``question`` with the tokens of an option in the place of its answer, and the end token."""
        return replace(question, answer_ids=self._answer_ids(self.form, question.example, option))

    def _answer_ids(self, form: AnswerForm, example: Example, text: str) -> tuple[int, ...]:
        # The question mark stands for what precedes, and makes sure that the end is not empty.
        end = "?" + self.end_of(example)
        key = form, end, text
        if key not in self._known_ids:
            if end not in self._continuations:
                self._continuations[end] = Continuation(partial(self._ids_after, end), end)
            ids = self._continuations[end].ids(text.strip() if form == "bare" else " " + text.strip())
            self._known_ids[key] = (*ids, self.end_id)
        return self._known_ids[key]

    def _ids_after(self, end: str, text: str) -> list[int]:
        """Return the ids of the prompt's end and an answer, or of either."""
        own = text.removeprefix(end)
        return self._tokens.encode(text, len(text) - len(own), len(text))[0]

    def end_of(self, example: Example) -> str:
        """Return what follows the last content (the question, the context or the choices) in the prompt."""
        around, last = self._framing_of(example), self._template_of(example).literals[-1]
        return (last.rstrip() if around.strips else last) + around.after

    def message(self, example: Example) -> str:
        """Return what the user says in the prompt: by default the instruction, the text and the question.

        Raises:
            UsageError: there is nothing to be put into the prompt.
        """
        return self._filled(example).text

    def _contents(self, example: Example) -> dict[Slot, str]:
        """Return what the prompt is made of; empty is what is not there."""
        return {
            "context": example.context.strip() if self.with_context else "",
            "question": example.question,
            "choices": listed(example.choices),
        }

    def _template_of(self, example: Example) -> PromptTemplate:
        there = frozenset(slot for slot, content in self._contents(example).items() if content)
        try:
            return template_for(self._templates, there)
        except UsageError as error:
            raise UsageError(f"question {example.id}: {error}") from None

    def _filled(self, example: Example) -> Filled:
        return self._template_of(example).fill(**self._contents(example))

    def _framing_of(self, example: Example) -> Framing:
        """Return what stands around the message; a text to be continued has no cue of its own accord."""
        is_asked = example.question or example.choices
        if self.style == "plain" and self.config.cue is None and not is_asked:
            return replace(self._framing, after="")
        return self._framing

    def _shorten(
        self,
        ids: list[int],
        offsets: Sequence[tuple[int, int]],
        example: Example,
        begin: int,
        inside: Sequence[int],
        excess: int,
        *,
        keep_answer: bool,
    ) -> list[int]:
        """Take ``excess`` tokens out of the context, which begins at ``begin`` in the text.

        Args:
            inside: the places of the context's tokens; none if it is not there.
        """
        if excess > len(inside):
            raise UsageError(
                f"question {example.id}: the prompt takes {len(ids) - len(inside)} tokens without any context, "
                f"more than prompt.max_tokens={self.config.max_tokens}; raise it"
            )
        kept = len(inside) - excess
        first = 0
        if keep_answer and example.answer_start >= 0:
            # If the answer lies beyond the kept window, move the window, with the answer in its middle if possible.
            start = begin + example.answer_start - (len(example.context) - len(example.context.lstrip()))
            end = start + len(example.answers[0])
            answer = [i for i, token in enumerate(inside) if offsets[token][0] < end and offsets[token][1] > start]
            if answer and answer[-1] >= kept:
                middle = (answer[0] + answer[-1] + 1) // 2
                first = min(max(0, middle - kept // 2), len(inside) - kept)
        head, tail = ids[: inside[0]], ids[inside[-1] + 1 :]
        return head + ids[inside[first] : inside[first] + kept] + tail


def _within(offsets: Sequence[tuple[int, int]], begin: int, end: int) -> list[int]:
    """Return which tokens stand for a part of the text's characters from ``begin`` to ``end``, and for no others."""
    return [index for index, (a, b) in enumerate(offsets) if begin <= a < b <= end]


def _plain(config: PromptConfig, task: Task) -> Framing:
    """Return what stands around a message in a plain prompt: the earlier turns and the cue."""
    cue = task.cue if config.cue is None else config.cue
    return Framing(before="".join(_as_text(turn, cue) for turn in config.turns), after=cue, strips=False, turn_end="")


def _as_text(turn: Turn, cue: str) -> str:
    """Return an earlier turn as text in a plain prompt."""
    content = turn.content.strip()
    if turn.role != "user":
        return f"{content}\n\n"
    return content + cue + ("" if cue[-1:].isspace() else " ")


def end_of_turn_id(tokenizer: Tokenizer) -> int | None:
    """Return the token that ends an assistant's turn according to the chat template.

    ``eos_token`` is not reliable: a tokenizer converted from GGUF may name a wrong one, but the model was trained with
    the template.
    """
    after = framing(tokenizer).turn_end
    ids = tokenizer(after, add_special_tokens=False, return_offsets_mapping=False)["input_ids"]
    end_id: int | None = first_special(ids, tokenizer)
    return tokenizer.eos_token_id if end_id is None else end_id
