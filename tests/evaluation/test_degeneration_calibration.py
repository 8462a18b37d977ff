"""Run a small version of ``benchmarks/degeneration.py`` on made-up questions."""

import random

import numpy as np
import pytest

from benchmark_programs import program
from thinwire.data.squad import Example
from thinwire.evaluation.answer_metrics import answer_metrics

NUM_PARAGRAPHS, PER_PARAGRAPH = 80, 5


benchmark = program("degeneration")


def made_up_examples():
    """Make 400 questions whose answers are spans of their paragraphs; 1 word in 16 is "the"."""
    rng = random.Random(1)  # noqa: S311 (not cryptographic)
    vocabulary = [f"w{i}" for i in range(900)] + ["the"] * 60
    examples = []
    for paragraph in range(NUM_PARAGRAPHS):
        words = rng.choices(vocabulary, k=100)
        for question in range(PER_PARAGRAPH):
            start, length = 20 * question + rng.randrange(15), rng.randint(1, 3)
            examples.append(
                Example(
                    id=f"{paragraph}-{question}",
                    article="a",
                    paragraph_id=str(paragraph),
                    context=" ".join(words),
                    question="which of the words is " + " ".join(rng.choices(vocabulary, k=4)),
                    answers=(" ".join(words[start : start + length]),),
                    answer_start=len(" ".join(words[:start])) + 1,
                )
            )
    return examples


@pytest.fixture(scope="module")
def examples():
    return made_up_examples()


@pytest.fixture(scope="module")
def pool(examples):
    return benchmark.squad_pool(examples, seed=0)


def test_fast_metrics_are_those_of_the_package(examples):
    rng = random.Random(0)  # noqa: S311 (not cryptographic)
    kinds = benchmark.collapses(examples)
    said = [kinds["one of 10 answers"], kinds['"the" and varied words'], lambda e, rng: e.answers[0]]
    rows = [benchmark.prediction(e, said[i % 3](e, rng)) for i, e in enumerate(examples)]
    rows[7:9] = [benchmark.prediction(e, "") for e in examples[7:9]]
    fast = vars(benchmark.Pool.of({"mixed": rows}).sets["mixed"].metrics())
    slow = vars(answer_metrics(rows))
    assert slow["top_first_word_share"] > 0.3  # "the": no tie, which the two might break differently
    assert min(slow["same_in_paragraph_share"], slow["missed_opening_share"], slow["empty_share"]) > 0
    for name in slow.keys() - {"top_first_word"}:
        assert fast[name] == pytest.approx(slow[name]), name


def test_healthy_sets_pass(examples, pool):
    rng = np.random.default_rng(0)
    for name in benchmark.healthy_sets(examples):
        for size in (100, 400):
            tally = benchmark.findings(pool, name, {0.0: name}, size, 50, rng)[0.0]
            assert tally.made["collapsed"] == 0, (name, size, tally)


SURELY_FOUND = {  # at a share of 0.5 of 100 answers, and of 400
    'always "the"': (1, 1),
    '"the the the ..."': (1, 1),
    '"the" and varied words': (0.9, 1),
    "empty": (1, 1),
    "the question": (1, 1),
    "one of 3 answers": (1, 1),
    "one of 10 answers": (1, 1),
    "a phrase repeated to the limit": (1, 1),
}


@pytest.mark.parametrize("kind", SURELY_FOUND)
@pytest.mark.parametrize("base", benchmark.BASES)
def test_half_a_set_of_degenerate_answers_is_found_and_a_twentieth_is_not(pool, base, kind):
    for size, least in zip((100, 400), SURELY_FOUND[kind], strict=True):
        tallies = benchmark.findings(pool, base, {0.05: kind, 0.5: kind}, size, 40, np.random.default_rng(0))
        assert tallies[0.05].made["collapsed"] == 0
        assert tallies[0.5].made["collapsed"] >= least * 40


def test_the_paragraphs_own_words_are_found_where_paragraphs_have_several_questions(pool):
    kind = "the paragraph's first words"
    tally = benchmark.findings(pool, "gold", {0.7: kind}, 400, 20, np.random.default_rng(0))[0.7]
    assert tally.beyond["same_in_paragraph_share"] == tally.made["collapsed"] == 20


def test_a_threshold_is_where_the_line_between_two_strengths_crosses_a_half():
    assert benchmark.threshold((0.1, 0.3), (0.25, 0.75)) == pytest.approx(0.2)
    assert benchmark.threshold((0.1, 0.3), (1.0, 1.0)) == pytest.approx(0.05)  # none is found at 0
    assert benchmark.threshold((0.1, 0.3), (0.0, 0.4)) is None
