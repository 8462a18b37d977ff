"""The interval of one run's own mean score."""

import numpy as np
import pytest

from thinwire.stats.mean_score import mean_interval
from thinwire.stats.pairing import Run


def run(scores_by_paragraph):
    rows = [
        {"id": f"{p}-{q}", "paragraph_id": str(p), "score": score}
        for p, scores in enumerate(scores_by_paragraph)
        for q, score in enumerate(scores)
    ]
    return Run.of_rows(rows)


def test_the_interval_is_that_of_a_mean_over_paragraphs():
    # 400 paragraphs of one question, half of them right: the standard error is sqrt(0.25 / 400) = 0.025.
    found = mean_interval(run([[1.0]] * 200 + [[0.0]] * 200))
    assert found.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.004)
    assert found.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.004)


def test_questions_of_a_paragraph_count_as_one_draw():
    # Four equal questions a paragraph say no more than one: the same interval as of the paragraphs alone.
    scores = np.random.default_rng(0).integers(0, 2, 100).astype(float).tolist()
    assert mean_interval(run([[score] * 4 for score in scores])) == mean_interval(run([[score] for score in scores]))


@pytest.mark.parametrize("scores", [[[0.0], [1.0]], [[0.5]] * 50], ids=["two paragraphs", "all equal"])
def test_what_says_too_little_has_no_interval(scores):
    assert mean_interval(run(scores)) is None
