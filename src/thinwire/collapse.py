"""Figures that betray mode collapse: a model that says the same whatever it reads."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TypedDict


class CollapseFigures(TypedDict):
    """How varied a set of answers is. Shares are fractions of all answers, 0 to 1."""

    distinct_share: float
    """Different answers over answers; 1 where no two are equal."""
    top_first_word: str | None
    """The most common first word; null where every answer is empty."""
    top_first_word_share: float
    first_word_entropy: float
    """Entropy of the first word in bits; 0 where all answers start alike."""
    empty_share: float


def collapse_figures(answers: Sequence[str]) -> CollapseFigures:
    """Diversity of ``answers`` (at least one), compared as stripped, lower-cased text."""
    if not answers:
        raise ValueError("no answers to diagnose")
    texts = [answer.strip().lower() for answer in answers]
    first_words = Counter(text.split()[0] for text in texts if text)
    word, count = first_words.most_common(1)[0] if first_words else (None, 0)
    spoken = sum(first_words.values())
    return CollapseFigures(
        distinct_share=len(set(texts)) / len(texts),
        top_first_word=word,
        top_first_word_share=count / len(texts),
        first_word_entropy=-sum(n / spoken * math.log2(n / spoken) for n in first_words.values()) or 0.0,
        empty_share=texts.count("") / len(texts),
    )
