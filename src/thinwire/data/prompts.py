"""Encode questions as token ids, with the same prompt in training and evaluation; truncation keeps question and cue.

The exception is ``prompt.truncation=right``, which exists to measure what removing them costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from thinwire.config.settings import AnswerForm, PromptConfig
from thinwire.data.continuation import Continuation
from thinwire.data.squad import Example
from thinwire.errors import UsageError

Style = Literal["chat", "plain"]

_WITH_CONTEXT = "Answer the question with a short phrase from the text.\n\nText: {context}\n\nQuestion: {question}"
_QUESTION_ALONE = "Answer the question with a short phrase.\n\nQuestion: {question}"
_PLAIN_CUE = "\n\nAnswer:"
_PROBE = "thinwire"
"""A content that no template contains."""

# Some templates print today's date; prompts must not depend on it.
_FIXED_DATE = "26 Jul 2024"


class Tokenizer(Protocol):
    """The methods of a Hugging Face fast tokenizer that prompts use."""

    chat_template: Any
    eos_token_id: Any

    def __call__(self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool) -> Any: ...

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any: ...


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


class PromptEncoder:
    """Encodes examples in one prompt style, with that style's end token."""

    def __init__(self, tokenizer: Tokenizer, config: PromptConfig, *, with_context: bool = True) -> None:
        has_template = bool(tokenizer.chat_template)
        if config.style == "chat" and not has_template:
            raise UsageError("prompt.style is chat, but this tokenizer has no chat template; set prompt.style=plain")
        self.style: Style = "chat" if config.style != "plain" and has_template else "plain"
        self.with_context = with_context
        self.config, self._tokenizer = config, tokenizer
        end_id = end_of_turn_id(tokenizer) if self.style == "chat" else tokenizer.eos_token_id
        if end_id is None:
            raise UsageError("this tokenizer names no end token, so an answer could never end; use another model")
        self.end_id: int = end_id
        self.prompt_end = self._prompt_end()
        """What follows the question in every prompt."""
        # The question mark makes sure that the end is not empty.
        self._continuation = Continuation(self._ids, "?" + self.prompt_end)

    @property
    def form(self) -> AnswerForm:
        """The form of answers: ``prompt.answer_form``, where ``auto``, which training questions decide
        (``decide_answer_form``), is ``space``."""
        return "bare" if self.config.answer_form == "bare" else "space"

    def with_form(self, form: AnswerForm) -> PromptEncoder:
        """Return this encoder with ``prompt.answer_form`` set to ``form``."""
        config = self.config.model_copy(update={"answer_form": form})
        return PromptEncoder(self._tokenizer, config, with_context=self.with_context)

    def render(self, example: Example) -> str:
        """Return the prompt as text; in the chat style, it includes the special tokens."""
        instruction = _WITH_CONTEXT if self.with_context else _QUESTION_ALONE
        content = instruction.format(context=example.context.strip(), question=example.question)
        if self.style == "plain":
            return content + _PLAIN_CUE
        return _render_chat(self._tokenizer, [{"role": "user", "content": content}], add_generation_prompt=True)

    def encode(self, example: Example, *, keep_answer: bool = False) -> Encoded:
        """Encode one example; a prompt longer than ``max_tokens`` is shortened as ``prompt.truncation`` says.

        Its answer has the form ``form``.

        Args:
            keep_answer: shorten the context around the gold answer instead of at its end. Only for training: in
                evaluation it would leak the answer. No effect with ``right``.

        Raises:
            UsageError: the prompt is too long even without any context.
        """
        text = self.render(example)
        tokens = self._tokenizer(text, add_special_tokens=self.style == "plain", return_offsets_mapping=True)
        ids, offsets = list(tokens["input_ids"]), list(tokens["offset_mapping"])
        excess = max(0, len(ids) - self.config.max_tokens)
        if excess and self.config.truncation == "right":
            ids = ids[: self.config.max_tokens]
        elif excess:
            ids = self._shorten(ids, offsets, text, example, excess, keep_answer=keep_answer)
        encoded = Encoded(example=example, prompt_ids=tuple(ids), answer_ids=(), dropped=excess)
        return self.with_answer_in(self.form, encoded)

    def with_answer_in(self, form: AnswerForm, question: Encoded) -> Encoded:
        """Return ``question`` with the tokens of its first gold answer in this form, and the end token."""
        text = question.example.answers[0].strip()
        ids = self._continuation.ids(text if form == "bare" else " " + text)
        return replace(question, answer_ids=(*ids, self.end_id))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=False)["input_ids"])

    def _prompt_end(self) -> str:
        if self.style == "plain":
            return _PLAIN_CUE
        messages = [{"role": "user", "content": _PROBE}]
        return _render_chat(self._tokenizer, messages, add_generation_prompt=True).rpartition(_PROBE)[2]

    def _shorten(
        self,
        ids: list[int],
        offsets: Sequence[tuple[int, int]],
        text: str,
        example: Example,
        excess: int,
        *,
        keep_answer: bool,
    ) -> list[int]:
        context = example.context.strip()
        begin = self._context_begin(text, example) if self.with_context else -1
        inside = [i for i, (a, b) in enumerate(offsets) if begin <= a < b <= begin + len(context)] if begin >= 0 else []
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

    @staticmethod
    def _context_begin(text: str, example: Example) -> int:
        """Find the context's position in the rendered prompt, searching backwards from the question; it may also occur
        earlier."""
        tail = _WITH_CONTEXT.partition("{context}")[2].format(question=example.question)
        return text.rfind(example.context.strip(), 0, text.rfind(tail) if tail in text else len(text))


def end_of_turn_id(tokenizer: Tokenizer) -> int | None:
    """Return the token that ends an assistant's turn according to the chat template.

    ``eos_token`` is not reliable: a tokenizer converted from GGUF may name a wrong one, but the model was trained with
    the template.
    """
    messages = [{"role": "user", "content": _PROBE[:4]}, {"role": "assistant", "content": _PROBE}]
    text = _render_chat(tokenizer, messages, add_generation_prompt=False)
    after = text[text.rindex(_PROBE) + len(_PROBE) :]
    ids = tokenizer(after, add_special_tokens=False, return_offsets_mapping=False)["input_ids"]
    special = set(getattr(tokenizer, "all_special_ids", [])) | set(getattr(tokenizer, "added_tokens_decoder", {}))
    end_id: int | None = next((id_ for id_ in ids if id_ in special), tokenizer.eos_token_id)
    return end_id


def _render_chat(tokenizer: Tokenizer, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
    rendered: str = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=add_generation_prompt, date_string=_FIXED_DATE
    )
    return rendered
