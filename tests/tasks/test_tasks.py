"""Each task's score, by hand-worked cases, and what is common to all of them."""

import subprocess
import sys
import types
from typing import get_args

import pytest

from thinwire.data.prompt_template import prompt_templates
from thinwire.errors import UsageError
from thinwire.stats.tiers import Tiers
from thinwire.tasks.table import TASKS, checked_task
from thinwire.tasks.task import TaskName


def score(name, text, *golds):
    return TASKS[name].score_text(text, golds)


def test_every_name_is_in_the_table_under_its_own():
    assert tuple(TASKS) == get_args(TaskName)
    assert all(task.name == name for name, task in TASKS.items())


@pytest.mark.parametrize("name", TASKS)
def test_thresholds_are_those_of_a_verdict_and_the_built_in_prompts_hold_all_contents(name):
    task = TASKS[name]
    assert Tiers(**task.thresholds._asdict()).thresholds() == task.thresholds._asdict()
    templates = prompt_templates(None, task)
    for there, template in templates.items():
        assert set(template.slots) - {"choices"} == there - {"choices"}
        assert ("choices" in template.slots) == (task.answered_by == "choice")


def test_extractive_answers_are_scored_with_f1_and_exact_match():
    # Two of two gold tokens and two of three own ones: 2 x 1 x 2/3 / (5/3) = 0.8.
    assert score("extractive_qa", "in Ada Lovelace", "Ada Lovelace", "Ada") == (pytest.approx(0.8), 0.0)


def test_a_short_answer_is_right_or_wrong():
    assert score("short_answer", "The answer.", "42", "answer") == (1.0, 1.0)
    assert score("short_answer", "42 miles", "42") == (0.0, 0.0)


def test_generated_texts_are_scored_with_rouge_l():
    # "the cat on mat": 4 of 6 gold words in order, 4 of 4 own ones: 2 x 1 x 2/3 / (5/3) = 0.8.
    assert score("generation", "the cat on mat", "the cat sat on the mat", "no") == (pytest.approx(0.8), 0.0)
    assert score("generation", "A cat!", "the cat") == (pytest.approx(0.5), 1.0), "articles count in ROUGE-L alone"
    assert score("generation", "", "a cat") == (0.0, 0.0)


def test_rouge_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.text.rouge", types.ModuleType("rouge"))
    with pytest.raises(UsageError, match=r"needs torchmetrics; pip install 'thinwire\[rouge\]'"):
        score("generation", "a", "a")


@pytest.mark.parametrize("name", ["multiple_choice", "classification"])
def test_an_option_is_right_or_wrong_as_it_stands(name):
    assert score(name, "sport", "sport") == (1.0, 1.0)
    assert score(name, "Sport", "sport", "politics") == (0.0, 0.0)


def test_texts_of_given_words_are_not_compared():
    with pytest.raises(ValueError, match="scored by their probability"):
        score("perplexity", "a", "a")


@pytest.mark.slow
def test_the_table_loads_neither_torch_nor_a_metric():
    code = "import sys, thinwire.tasks.table; sys.exit(bool({'torch', 'torchmetrics'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_task_that_there_is_not_is_refused_with_the_nearest():
    assert checked_task("perplexity") == "perplexity"
    with pytest.raises(UsageError, match=r"no task called 'classify'.*there are: extractive_qa, short_answer, "):
        checked_task("classify")
