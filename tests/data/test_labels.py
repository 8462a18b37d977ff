"""Labels of a classification, and questions whose options are missing."""

from dataclasses import replace

import pytest

from thinwire.config.settings import DataConfig, EvaluationConfig
from thinwire.data.labels import check_options, labels_of, with_labels
from thinwire.data.splits import Splits
from thinwire.errors import UsageError
from thinwire.tasks.table import TASKS
from tiny_models import example


def test_labels_are_all_answers_in_order_and_every_question_gets_them():
    examples = [example(0, answer="sport"), example(1, answer="art"), example(2, answer="sport")]
    assert labels_of(examples) == ("art", "sport")
    assert [one.choices for one in with_labels(examples, ("art", "sport"))] == [("art", "sport")] * 3


@pytest.mark.parametrize(("answers", "num"), [(["art"] * 3, 1), ([f"label {n}" for n in range(201)], 201)])
def test_one_label_or_hundreds_are_refused(answers, num):
    with pytest.raises(UsageError, match=rf"found {num} different answers .* expected 2 to 200 labels"):
        labels_of([example(n, answer=answer) for n, answer in enumerate(answers)])


def test_a_label_that_was_never_trained_on_is_refused():
    with pytest.raises(UsageError, match="the label 'war' is none of the 2 that the training data have"):
        with_labels([example(0, answer="war")], ("art", "sport"))


def test_a_choice_needs_options():
    chosen = replace(example(0, answer="a"), choices=("a", "b"))
    check_options(TASKS["multiple_choice"], [chosen])
    check_options(TASKS["extractive_qa"], [example(1)])
    with pytest.raises(UsageError, match="task=multiple_choice needs the options of each question"):
        check_options(TASKS["multiple_choice"], [chosen, example(1)])


def test_the_labels_of_the_training_questions_are_the_options_of_all_splits(tmp_path):
    rows = "\n".join(f"Town {n} has {n} mills.,Which kind?,{'even' if n % 2 == 0 else 'odd'}" for n in range(20))
    (tmp_path / "mine.csv").write_text(f"context,question,answer\n{rows}\n")
    data = DataConfig(train=str(tmp_path / "mine.csv"), test_articles=4, selection_articles=4, mismatched="keep")
    drawn = Splits(data, 0, TASKS["classification"]).drawn(EvaluationConfig(samples="all", selection_samples=4))
    for split in (drawn.train, drawn.selection, drawn.test):
        assert {one.choices for one in split} == {("even", "odd")}
    assert len(drawn.test) == 4
