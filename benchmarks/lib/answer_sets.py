"""Make sets of answers to questions: healthy ones, right or wrong, and degenerate ones of several kinds."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thinwire.data.squad import Example
from thinwire.tasks.squad_metric import best_over_golds

LENGTH_LIMIT = 24
"""Words of an answer that runs on."""

Row = Mapping[str, Any]
Answerer = Callable[[Example, random.Random], str]


def words_of_context(example: Example, rng: random.Random, num: int) -> list[str]:
    """Return ``num`` consecutive words of the context from a random position."""
    words = example.context.split()
    start = rng.randrange(max(1, len(words) - num + 1))
    return words[start : start + num]


def random_span(example: Example, rng: random.Random) -> str:
    return " ".join(words_of_context(example, rng, len(example.answers[0].split())))


def moved_span(example: Example, rng: random.Random) -> str:
    """Return the gold answer with a word of the context more or less on either side."""
    first = len(example.context[: example.answer_start].split())
    last = first + len(example.answers[0].split())
    words = example.context.split()
    start, end = max(0, first + rng.choice((-1, 0, 1))), last + rng.choice((-1, 0, 1, 2))
    return " ".join(words[start : max(end, start + 1)])


def sentence(example: Example, rng: random.Random) -> str:
    return rng.choice(("The answer is {}.", "It is {}.", "The text says that it was {}.")).format(example.answers[0])


def run_on(example: Example, rng: random.Random) -> str:
    phrase = words_of_context(example, rng, rng.randint(1, 4))
    return " ".join((phrase * LENGTH_LIMIT)[:LENGTH_LIMIT])


def opening(*first_words: str) -> Answerer:
    """Return an answerer with one of ``first_words`` before one to three words of the context."""
    return lambda example, rng: " ".join([rng.choice(first_words), *words_of_context(example, rng, rng.randint(1, 3))])


def constants(answers: Sequence[str]) -> Answerer:
    return lambda example, rng: rng.choice(answers)


def collapses(examples: Sequence[Example]) -> dict[str, Answerer]:
    """Return the kinds of degenerate answers."""
    rng = random.Random(0)  # noqa: S311 (not cryptographic)
    drawn = rng.sample(sorted({example.answers[0] for example in examples}), 10)
    return {
        'always "the"': lambda example, rng: "the",
        '"the the the ..."': lambda example, rng: " ".join(["the"] * rng.randint(3, LENGTH_LIMIT)),
        '"the" and varied words': opening("the"),
        "one of three words and varied words": opening("the", "in", "a"),
        "empty": lambda example, rng: "",
        "the question": lambda example, rng: example.question,
        "one of 3 answers": constants(drawn[:3]),
        "one of 10 answers": constants(drawn),
        "the paragraph's first words": lambda example, rng: " ".join(example.context.split()[:4]),
        "a phrase repeated to the limit": run_on,
    }


def next_of_paragraph(examples: Sequence[Example]) -> dict[str, str]:
    """Return for each question id the gold answer to the next question about its paragraph."""
    of: dict[str, list[Example]] = {}
    for example in examples:
        of.setdefault(example.paragraph_id, []).append(example)
    return {
        example.id: group[(place + 1) % len(group)].answers[0]
        for group in of.values()
        for place, example in enumerate(group)
    }


def healthy_sets(examples: Sequence[Example]) -> dict[str, Answerer]:
    """Return the kinds of answers that are no collapse."""
    following = next_of_paragraph(examples)
    return {
        "gold": lambda example, rng: example.answers[0],
        "another annotator's": lambda example, rng: example.answers[-1],
        "gold, a word more or less": moved_span,
        "the next question's answer": lambda example, rng: following[example.id],
        "any words of the paragraph": random_span,
        "half gold, half any words": lambda example, rng: (
            example.answers[0] if rng.random() < 0.5 else random_span(example, rng)
        ),
        "gold in a sentence": sentence,
    }


def prediction(example: Example, answer: str) -> Row:
    """Return ``answer`` as a line of ``predictions.jsonl``."""
    exact, f1 = best_over_golds(answer, example.answers)
    return {
        "id": example.id,
        "paragraph_id": example.paragraph_id,
        "question": example.question,
        "golds": list(example.answers),
        "raw_text": answer,
        "text": answer,
        "exact_match": exact,
        "f1": f1,
        "stop_reason": "length" if len(answer.split()) >= LENGTH_LIMIT else "end",
    }
