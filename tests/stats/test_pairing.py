import math

import numpy as np
import pytest

from thinwire.errors import UsageError
from thinwire.stats.bootstrap import compare_to_baseline
from thinwire.stats.pairing import Run, panel, paragraph_weights


def run(scores, paragraphs=None, prefix="q"):
    """A run; each question is its own paragraph unless told otherwise."""
    ids = tuple(f"{prefix}{i}" for i in range(len(scores)))
    return Run(ids=ids, paragraph_ids=tuple(paragraphs or ids), scores=tuple(map(float, scores)))


def test_scores_are_paired_by_id_and_summed_by_paragraph():
    first = Run(ids=("a", "b", "c"), paragraph_ids=("p", "q", "p"), scores=(1.0, 0.5, 0.25))
    second = Run(ids=("c", "b", "a"), paragraph_ids=("p", "q", "p"), scores=(0.0, 1.0, 0.5))
    data = panel([first, second])
    assert data.sums.tolist() == [[1.25, 0.5], [0.5, 1.0]]
    assert data.sizes.tolist() == [2, 1]


def test_missing_questions_are_refused_by_number():
    with pytest.raises(UsageError, match="2 of 4 questions are missing"):
        compare_to_baseline([run([1, 0, 1, 1])], {"a": [run([0, 0])]})


def test_runs_without_a_common_question_are_refused():
    with pytest.raises(UsageError, match="no question in common"):
        panel([run([1, 0]), run([1, 0], prefix="r")])


def test_a_question_in_two_paragraphs_is_refused():
    with pytest.raises(UsageError, match="question q1 is in paragraph p and in q"):
        panel([run([0, 0], ["p", "p"]), run([0, 0], ["p", "q"])])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
def test_scores_that_are_no_fraction_are_refused(bad):
    with pytest.raises(UsageError, match=r"1 scores are no number from 0 to 1 \(first: question q1\)"):
        run([0, bad])


def test_repeated_ids_and_unequal_lengths_are_refused():
    with pytest.raises(UsageError, match="2 question ids come more than once"):
        Run(ids=("a", "a", "a"), paragraph_ids=("p",) * 3, scores=(0.0,) * 3)
    with pytest.raises(UsageError, match="1 ids, 2 paragraph ids and 1 scores"):
        Run(ids=("a",), paragraph_ids=("p", "q"), scores=(0.0,))


def test_rows_of_a_predictions_file_become_a_run_and_null_is_no_zero():
    rows = [{"id": "a", "paragraph_id": "p", "score": 0.5, "exact_match": 1}]
    assert Run.of_rows(rows).scores == (0.5,)
    assert Run.of_rows(rows, "exact_match").scores == (1.0,)
    with pytest.raises(UsageError, match="no number"):
        Run.of_rows([{**rows[0], "score": None}])


def test_weights_draw_as_many_paragraphs_as_there_are_in_each_of_all_resamples():
    weights = np.concatenate(list(paragraph_weights(300_000, 10, np.random.default_rng(0))))  # two chunks
    assert weights.shape == (10, 300_000)
    assert (weights.sum(1) == 300_000).all()
    assert (weights == 0).mean() == pytest.approx(math.exp(-1), abs=0.002)
