"""Find paragraphs that two splits share: scores on such paragraphs say nothing about new ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from thinwire.data.squad import Example


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Paragraphs of one split that another holds too."""

    seen: str
    """The split that is used first, in words, with the source of its questions."""
    scored: str
    """The split that is scored on those paragraphs, in the same form."""
    paragraphs: tuple[str, ...]
    """Their texts, with whitespace normalised; at least one. Of questions without a context, the questions' own."""

    def __str__(self) -> str:
        """Say how many paragraphs are shared, with the first words of one."""
        num, words = len(self.paragraphs), self.paragraphs[0].split()
        beginning = " ".join(words[:8]) + (" ..." if len(words) > 8 else "")
        return (
            f"{num:,} {'paragraph' if num == 1 else 'paragraphs'} of the {self.scored} "
            f"{'is' if num == 1 else 'are'} also in the {self.seen}, such as {beginning!r}"
        )


def shared_paragraphs(seen: Sequence[Example], scored: Sequence[Example]) -> tuple[str, ...]:
    """Return the paragraphs of ``scored`` that ``seen`` holds too, each once, in the order of ``scored``.

    A paragraph is shared if its text is equal after whitespace is normalised, or if one of its questions has both the
    id and the text of a question in ``seen``. So an edited paragraph is found as well, and files that merely number
    their questions alike share nothing. A question without a context is a paragraph of its own, with its choices.

    Returns:
        The texts, with whitespace normalised.
    """
    questions = {example.id: example.question for example in seen}
    texts = {_digest(_normalised(paragraph)) for paragraph in set(map(_paragraph, seen))}
    has_shared_question: dict[str, bool] = {}  # by paragraph, so that each is normalised once for all its questions
    for example in scored:
        twin, paragraph = questions.get(example.id), _paragraph(example)
        is_shared = bool(twin) and _normalised(str(twin)) == _normalised(example.question)
        has_shared_question[paragraph] = has_shared_question.get(paragraph, False) or is_shared
    by_text = ((_normalised(paragraph), is_shared) for paragraph, is_shared in has_shared_question.items())
    return tuple(dict.fromkeys(text for text, is_shared in by_text if is_shared or _digest(text) in texts))


def _paragraph(example: Example) -> str:
    return example.context or "\n".join([example.question, *example.choices])


def _digest(text: str) -> bytes:
    """Stand for a text in a set: large data have hundreds of megabytes of paragraphs."""
    return hashlib.sha256(text.encode()).digest()


def _normalised(text: str) -> str:
    return " ".join(text.split())
