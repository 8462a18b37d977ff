"""Score texts against a question with BM25 (Robertson & Zaragoza 2009, doi:10.1561/1500000019).

The formula is written out because libraries index a collection once for many questions, while here every context is a
collection of its own, of a few sentences. Tests compare the scores with those of ``bm25s``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

K1, B = 1.2, 0.75
"""How soon further occurrences of a word stop counting, and how far a text's length counts: usual values."""

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the words of a text: runs of letters, digits and underscores, without their case; no stemming."""
    return _WORD.findall(text.casefold())


def bm25_scores(question: Sequence[str], texts: Sequence[Sequence[str]]) -> list[float]:
    """Return each text's score, 0 or more; 0 means that it has no word of the question.

    The inverse document frequency is ``log(1 + (N - n + 0.5) / (n + 0.5))`` for a word in ``n`` of ``N`` texts. Without
    the 1, which the original lacks, words in more than half of the texts would count against a text, and among a few
    sentences nearly all are.

    Args:
        question: words, of which repeated ones count once.
        texts: the words of each text.
    """
    counts = [Counter(text) for text in texts]
    mean_length = sum(map(len, texts)) / max(1, len(texts))
    # In their order and not as a set, whose order would change with the process, and sums with it.
    weights = {}
    for word in dict.fromkeys(question):
        if holders := sum(word in one for one in counts):
            weights[word] = math.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
    scores = []
    for text, count in zip(texts, counts, strict=True):
        norm = K1 * (1 - B + B * len(text) / mean_length) if text else K1
        scores.append(sum(weight * count[word] / (count[word] + norm) for word, weight in weights.items()))
    return scores
