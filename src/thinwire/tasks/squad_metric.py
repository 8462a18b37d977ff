"""SQuAD's official metric: exact match and F1 over normalised tokens, the best over all gold answers.

As in the evaluation script of SQuAD v1.1 (Rajpurkar et al. 2016, arXiv:1606.05250): lower case, no punctuation, no
articles (a, an, the), white space collapsed; F1 counts shared tokens as a multiset. Scores are fractions, 0 to 1.
"""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=65_536)  # gold answers recur, within a question and with every epoch and arm
def normalize(text: str) -> str:
    """Lower-case ``text``, drop ASCII punctuation and articles, and collapse white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, gold: str) -> float:
    """Return 1.0 if both texts are equal after normalisation, else 0.0."""
    return float(normalize(prediction) == normalize(gold))


def f1(prediction: str, gold: str) -> float:
    """Return the harmonic mean of token precision and recall; 0 without a shared token, even for two empty texts
    (v1.1)."""
    predicted, wanted = normalize(prediction).split(), normalize(gold).split()
    # Answers are a few words: counting shared tokens is faster than making a multiset of each.
    shared = sum(min(predicted.count(token), wanted.count(token)) for token in {*predicted}.intersection(wanted))
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


def best_over_golds(prediction: str, golds: Sequence[str]) -> tuple[float, float]:
    """Return the best exact match and the best F1, each over all gold answers.

    Raises:
        ValueError: ``golds`` is empty.
    """
    if not golds:
        raise ValueError("a question needs at least one gold answer to be scored")
    distinct = set(golds)  # annotators often agree
    exact = max(exact_match(prediction, gold) for gold in distinct)
    if exact and normalize(prediction):
        return exact, 1.0  # all tokens are shared
    return exact, max(f1(prediction, gold) for gold in distinct)


@dataclass(frozen=True, kw_only=True)
class SquadScores:
    """Means over all questions, as fractions; a missing answer counts as 0."""

    exact_match: float
    f1: float
    total: int
    """Number of questions, answered or not."""
    missing: int
    """Number of questions without a prediction."""


def score(predictions: Mapping[str, str], golds: Mapping[str, Sequence[str]]) -> SquadScores:
    """Score ``{question id: answer}`` against ``{question id: gold answers}``; extra predictions are ignored.

    Raises:
        ValueError: there are no questions.
    """
    if not golds:
        raise ValueError("no questions to score")
    scores = [best_over_golds(predictions[id_], answers) for id_, answers in golds.items() if id_ in predictions]
    return SquadScores(
        exact_match=sum(exact for exact, _ in scores) / len(golds),
        f1=sum(overlap for _, overlap in scores) / len(golds),
        total=len(golds),
        missing=len(golds) - len(scores),
    )
