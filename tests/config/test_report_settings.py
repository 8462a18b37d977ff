from pathlib import Path

import pytest

from thinwire.config.load import load_experiment
from thinwire.config.report_settings import ReportConfig
from thinwire.errors import UsageError

PLAN = Path(__file__).parents[2] / "experiments" / "phase1a_lora.yaml"
MODELS = ["smollm2-135m", "meta-llama/Meta-Llama-3.1-8B-Instruct"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("overrides", [[], ["data.train=rajpurkar/squad"], ["data.test=squad"], ["data.samples=9"]])
def test_the_plans_words_are_said_of_its_models_and_squad(model, overrides):
    experiment = load_experiment(PLAN, overrides)
    description, report = experiment.words(model)
    assert description == "Phase 1a (reconstruction, minimal CE) with and without LoRA on SQuAD"
    assert report == experiment.report
    assert report.heading == "2.9 Hypothesis 9: LoRA with Minimal Supervision"


@pytest.mark.parametrize(
    ("model", "overrides", "data"),
    [
        ("models/mine", [], "squad"),
        ("smollm2-135m", ["data.train=mine.csv", "data.test_articles=2"], "mine.csv"),
        ("smollm2-135m", ["data.train=mine.csv", "data.test=squad"], "mine.csv and squad"),
        ("smollm2-135m", ["data.test=mine.csv"], "squad and mine.csv"),
        ("models/mine", ["data.train=mine.csv"], "mine.csv"),
    ],
)
def test_over_other_models_or_data_none_of_the_plans_words_are_said(model, overrides, data):
    description, report = load_experiment(PLAN, overrides).words(model)
    assert report == ReportConfig()
    assert description == f"The experiment's configurations with the model {model} and questions of {data}"


def test_an_experiment_that_says_not_what_it_is_about_keeps_its_words():
    plan = load_experiment(PLAN, ["report.about=null", "data.train=mine.csv", "description=Mine"])
    description, report = plan.words("models/mine")
    assert description == "Mine"
    assert report.motivation is not None


@pytest.mark.parametrize("names", ["[]", "['']"])
def test_a_subject_of_nothing_is_refused(names):
    with pytest.raises(UsageError, match=r"report\.about\.data: takes a list of names, at least one"):
        load_experiment(PLAN, [f"report.about.data={names}"])
