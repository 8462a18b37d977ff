"""Tokenise prompts in which a user's text is text, even where it spells a control token.

A tokenizer takes ``<|im_end|>`` anywhere in a string for the token that ends a turn. In the text of a question it is
eleven characters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

from thinwire.errors import UsageError, foreign

Tokens = tuple[list[int], list[tuple[int, int]]]
"""The ids of a text, and the characters that each stands for: the first and the one after the last."""

_NEUTRAL = "\n"
"""Written before a part of a text, so that tokenizers that begin a text with a space do not begin a part with one."""


class Tokenizer(Protocol):
    """The methods of a Hugging Face fast tokenizer that prompts use."""

    chat_template: Any
    eos_token_id: Any
    special_tokens_map: Any
    added_tokens_decoder: Any

    def __call__(self, text: str | list[str], *, add_special_tokens: bool, return_offsets_mapping: bool) -> Any: ...


class TextTokens:
    """Tokenises strings of which a part is a user's text."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        """Find the tokenizer's control tokens: its special tokens, and other added tokens that ``template`` writes."""
        self._tokenizer = tokenizer
        found = {
            id_: str(token) for id_, token in tokenizer.added_tokens_decoder.items() if _is_control(token, template)
        }
        unknown = _unknown_token(tokenizer)
        self._control = {id_: text for id_, text in found.items() if text != unknown}
        texts = sorted((text for text in found.values() if text.strip()), key=len, reverse=True)
        # Looking ahead finds overlapping tokens too.
        self._texts = texts
        self._spelled = re.compile(f"(?=(?:{'|'.join(map(re.escape, texts))}))") if texts else None
        self._neutral_ids, _ = self._encode(_NEUTRAL)

    def tokenize(self, texts: list[str]) -> list[Tokens]:
        """Return the tokens of each text, control tokens that it spells included; faster for many texts at once, which
        share the cores.

        Raises:
            UsageError: the tokenizer fails.
        """
        with foreign(f"the tokenizer of {getattr(self._tokenizer, 'name_or_path', '') or 'this model'} fails"):
            found = self._tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
            return [(list(ids), list(at)) for ids, at in zip(found["input_ids"], found["offset_mapping"], strict=True)]

    def encode(self, text: str, begin: int, end: int, whole: Tokens | None = None) -> Tokens:
        """Return the tokens of ``text``, with no control token from the user's ``text[begin:end]``.

        Special tokens that the tokenizer would add at the beginning or end are not added.

        Args:
            whole: what ``tokenize`` returns for ``text``, where it is known.

        Raises:
            UsageError: the tokenizer fails, or makes a control token even of parts of one.
        """
        cuts = self._cuts(text, begin, end)
        if cuts or whole is None:
            whole = self._encode(text[: cuts[0]] if cuts else text)
        ids, offsets = whole
        for start, stop in pairwise([*cuts, len(text)]):
            more, places = self._continued(text[start:stop])
            ids += more
            offsets += [(a + start, b + start) for a, b in places]
        for place in [place for place, id_ in enumerate(ids) if id_ in self._control]:
            a, b = offsets[place]
            if begin <= a < b <= end:
                raise UsageError(
                    f"the tokenizer takes {text[a:b]!r} for the control token {self._control[ids[place]]!r}, though it "
                    "is text; leave the question out, or use another model"
                )
        return ids, offsets

    def spelled_in(self, text: str) -> str | None:
        """Return a control token that ``text`` spells; None if it spells none."""
        return next((token for token in self._texts if token in text), None)

    def _cuts(self, text: str, begin: int, end: int) -> list[int]:
        """Return where to cut ``text`` so that no part of ``text[begin:end]`` is a control token: after the first
        character of each."""
        if self._spelled is None:
            return []
        return [match.start() + 1 for match in self._spelled.finditer(text, begin, end)]

    def _encode(self, text: str) -> Tokens:
        (tokens,) = self.tokenize([text])
        return tokens

    def _continued(self, part: str) -> Tokens:
        """Return the ids of ``part`` as the continuation of another text."""
        ids, offsets = self._encode(_NEUTRAL + part)
        num = len(self._neutral_ids)
        if ids[:num] != self._neutral_ids:
            return self._encode(part)
        return ids[num:], [(max(a - len(_NEUTRAL), 0), b - len(_NEUTRAL)) for a, b in offsets[num:]]


def added_around(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer adds before and after a text.

    Raises:
        UsageError: it makes no tokens of a text, or other ones where it adds special tokens.
    """
    text = "a b"
    whole, own = (
        list(tokenizer(text, add_special_tokens=special, return_offsets_mapping=False)["input_ids"])
        for special in (True, False)
    )
    if not own:
        raise UsageError(f"the tokenizer makes no tokens of the text {text!r}; use another model")
    for start in range(len(whole) - len(own) + 1):
        if whole[start : start + len(own)] == own:
            return whole[:start], whole[start + len(own) :]
    raise UsageError("the tokenizer changes a text's own tokens where it adds special ones; use another model")


def _is_control(token: Any, template: str) -> bool:
    return bool(getattr(token, "special", False)) or (bool(str(token).strip()) and str(token) in template)


def _unknown_token(tokenizer: Any) -> str | None:
    """Return the token that stands for what the vocabulary lacks; it is no control token."""
    backend = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    return getattr(tokenizer, "unk_token", None) or getattr(backend, "unk_token", None)


def first_special(ids: Sequence[int], tokenizer: Any) -> int | None:
    """Return the first of ``ids`` that is a special or added token; None if none is."""
    special = set(getattr(tokenizer, "all_special_ids", [])) | set(tokenizer.added_tokens_decoder)
    return next((id_ for id_ in ids if id_ in special), None)
