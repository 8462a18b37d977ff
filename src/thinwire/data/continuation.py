"""Tokenise a text as the continuation of a prompt."""

from __future__ import annotations

from collections.abc import Callable

_NEUTRAL_END = "\n"
"""A text that few tokenizers merge with a letter."""


class Continuation:
    """Tokenises texts that follow prompts with the same end.

    A text alone may have other tokens than the same text inside a prompt: tokenizers in SentencePiece's manner write a
    space before the first word of whatever they get ("Paris" and " Paris" alone become one and two spaces more). So the
    prompt's end and the text are tokenised jointly, and the ids after those of the prompt's end are the text's.

    Where the end's own ids are not the beginning of the joint ids, a token of the joint text covers both the end and
    the text, but the prompt, which is tokenised without an answer, never contains that token. Then a line end takes the
    place of the prompt's end, and if that is merged too, the text is tokenised alone, which is exact for tokenizers
    that add nothing at the beginning.
    """

    def __init__(self, encode: Callable[[str], list[int]], prompt_end: str) -> None:
        """Prepare for prompts that end in ``prompt_end``; ``encode`` returns a text's ids without special tokens of its
        own, but recognises those that are written in the text."""
        self._encode = encode
        ends = [prompt_end, _NEUTRAL_END]
        self._ends = [(end, encode(end)) for end in ends if end] + [("", [])]

    def ids(self, text: str) -> list[int]:
        """Return the ids of ``text`` after the prompt's end."""
        joint = ((self._encode(end + text), before) for end, before in self._ends)
        return next(ids[len(before) :] for ids, before in joint if ids[: len(before)] == before)
