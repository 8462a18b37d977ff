"""What a tokenizer's chat template writes around a message.

The template runs only in a confined process (``thinwire.data.confined``), on a few messages. From those it is known
what stands before and after a message; prompts are then put together without the template. A template for which this
does not hold, because what it writes depends on the message, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thinwire.config.settings import Turn
from thinwire.data.confined import Limits, run_confined
from thinwire.errors import UsageError, shown

_WORD = "Qthinwire7"
"""A content that no template contains."""
_CONTENTS = (
    _WORD,
    f"{_WORD} one line, and a long one: {'a word, ' * 2_000}1843.",
    f'{_WORD}\n\nQuestion: <b>"it\'s" & {{{{ x }}}}</b> {{% y %}} </think> [INST] <|im_end|> \u00e9\u6f22 \\ {_WORD}?',
)
"""Messages of which a template changes nothing."""
_LONGEST_TEXT = 1 << 20
"""Most characters that a template may write for one of these messages."""
_LIMITS = Limits(cpu_seconds=5, memory_bytes=1 << 30)
"""A template in use takes hundredths of a second."""
_SPACED = f" \n{_WORD}\t?  \n"
"""A message of which a template may remove the white space around."""


@dataclass(frozen=True, kw_only=True)
class Framing:
    """What a chat template writes around the user's message and after the assistant's."""

    before: str
    """Begins with the earlier turns, if there are any."""
    after: str
    """Up to where the assistant begins to write."""
    strips: bool
    """Whether white space around the message is removed."""
    turn_end: str
    """What follows the assistant's message."""

    def around(self, message: str) -> str:
        """Return the prompt with ``message``."""
        return self.before + self.framed(message) + self.after

    def framed(self, message: str) -> str:
        """Return ``message`` as it stands in the prompt."""
        return message.strip() if self.strips else message


def framing(tokenizer: Any, turns: Sequence[Turn] = ()) -> Framing:
    """Work out what the chat template of ``tokenizer`` writes around messages, after ``turns``.

    Dates that it asks for are always the same day.

    Raises:
        UsageError: the template fails, takes too long, writes too much, changes messages, or does not write ``turns``.
    """
    what = f"the chat template of {getattr(tokenizer, 'name_or_path', '') or 'this tokenizer'}"
    if not turns:
        return _framing(tokenizer, what, [])
    framing(tokenizer)  # a template that fails in any case is told as such
    before = [_message(turn.role, turn.content) for turn in turns]
    try:
        found = _framing(tokenizer, f"{what} with prompt.turns", before)
    except UsageError as error:
        if turns[0].role != "system":
            raise
        raise UsageError(f"{error}; it may take no system message: put its text into prompt.template") from None
    at = 0
    for number, turn in enumerate(turns):
        content = turn.content.strip()
        at = found.before.find(content, at)
        if at < 0:
            raise UsageError(
                f"{what} does not write prompt.turns[{number}], of the role {turn.role}, as it is "
                f"({shown(content, 40)}); take it out, or set prompt.style=plain"
            )
        at += len(content)
    return found


def _framing(tokenizer: Any, what: str, turns: list[dict[str, str]]) -> Framing:
    users = [[*turns, _message("user", content)] for content in (*_CONTENTS, _SPACED)]
    chats = [{"messages": messages, "add_generation_prompt": True} for messages in users]
    answered = [_message("user", "thin"), _message("assistant", _WORD)]
    texts = run_confined(
        f"{what} cannot be used",
        "render",
        _LIMITS,
        template=_source(tokenizer, what),
        special_tokens={name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        longest=_LONGEST_TEXT,
        chats=[*chats, {"messages": answered, "add_generation_prompt": False}],
    )
    before, found, after = texts[0].rpartition(_WORD)
    strips = texts[len(_CONTENTS)] == before + _SPACED.strip() + after
    _, answer, turn_end = texts[-1].rpartition(_WORD)
    framed = Framing(before=before, after=after, strips=strips, turn_end=turn_end)
    if not found or not answer:
        raise UsageError(
            f"{what} leaves out the message of the {'assistant' if found else 'user'}; set prompt.style=plain"
        )
    for content, text in zip((*_CONTENTS, _SPACED), texts, strict=False):
        if text != framed.around(content):
            raise UsageError(
                f"{what} changes messages or what stands around them, by their content, which is not supported; set "
                "prompt.style=plain"
            )
    return framed


def template_source(tokenizer: Any) -> str:
    """Return the source of the tokenizer's default chat template; empty if it has none."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return template if isinstance(template, str) else ""


def _source(tokenizer: Any, what: str) -> str:
    if source := template_source(tokenizer):
        return source
    raise UsageError(f"{what} is none that is called default; set prompt.style=plain")


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
