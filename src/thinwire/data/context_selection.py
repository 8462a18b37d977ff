"""Choose the tokens of a context that a prompt keeps: its beginning, or the sentences that are most like the question.

These are the rivals of reading several tokens in one position: they take as few positions and need no training. Neither
looks at the answer, in training or in evaluation.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from math import ceil

from thinwire.config.settings import ContextChoice, PromptConfig
from thinwire.data.bm25 import bm25_scores, words
from thinwire.errors import UsageError

_BREAK = re.compile(r"""[.!?]["'\u201d\u2019\xbb)\]]*\s+|\n\s*""")
"""Where a sentence may end: a mark and white space, with closing quotes and brackets between them; or a line's end."""


def num_kept(num_tokens: int, share: float) -> int:
    """Return how many of ``num_tokens`` are kept: ``share`` of them, rounded up, as many as blocks of ``1 / share``.

    ``share`` counts as the decimal number that was written: 0.07 of 100 is 7, though in floating point
    ``0.07 * 100 > 7``.
    """
    return ceil(Fraction(str(share)) * num_tokens)


def check_selects_without_question(prompt: PromptConfig) -> None:
    """Refuse to choose from contexts about which nothing is asked.

    Raises:
        UsageError: sentences would be compared with the question.
    """
    if prompt.context_share < 1 and prompt.context_choice == "bm25":
        raise UsageError(
            "prompt.context_choice is bm25, but there is no question that sentences could be compared with; set "
            "prompt.context_choice=beginning"
        )


def sentence_starts(text: str) -> list[int]:
    """Return the character offsets at which the sentences of ``text`` begin; the first is 0.

    What follows a sentence, such as white space, is a part of it. The rule knows no words: it also divides after
    abbreviations (``Dr. Lee``) unless a lower-case letter follows, and does not divide before one (``Yes. iPads``),
    nor where no white space follows the mark, as in Chinese or Japanese.
    """
    breaks = ((found.end(), found.group()) for found in _BREAK.finditer(text))
    return [0, *(end for end, mark in breaks if end < len(text) and ("\n" in mark or not text[end].islower()))]


def kept_tokens(
    text: str, places: Sequence[tuple[int, int]], question: str, share: float, choice: ContextChoice
) -> list[int]:
    """Return the indices of the tokens of a context that are kept, in their order; ``num_kept`` of them.

    ``beginning`` keeps the first ones. ``bm25`` takes whole sentences by their scores, the earlier of equal ones first,
    until one does not fit; of that one it takes the beginning.

    Args:
        text: the context.
        places: of each token, the character offsets in ``text``, ``(begin, end)``, that it stands for.
        question: what sentences are compared with.
    """
    room = num_kept(len(places), share)
    if choice == "beginning":
        return list(range(room))
    starts = sentence_starts(text)
    tokens: list[list[int]] = [[] for _ in starts]
    for index, (begin, end) in enumerate(places):
        # Of its last character: a token often begins with the white space after the sentence before.
        tokens[max(0, bisect_right(starts, max(begin, end - 1)) - 1)].append(index)
    sentences = [words(text[a:b]) for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    scores = bm25_scores(words(question), sentences)
    best_first = sorted(range(len(starts)), key=lambda number: -scores[number])  # a stable sort
    taken = [index for number in best_first for index in tokens[number]]
    return sorted(taken[:room])
