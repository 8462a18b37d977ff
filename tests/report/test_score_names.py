"""What is written of scores is the task's: its label and unit, and EM and the form of answers only where they apply."""

import re

import pytest

from small_analysis import example, interaction, of_task, series, study
from sweep_folder import edit, folder_of, load, record, write_answers, write_run
from thinwire.checkpoints.load import find_arm
from thinwire.experiment.status import ArmStatus, RunStatus, name_of_score, render_status
from thinwire.export.scores import scores
from thinwire.hashes import content_hash
from thinwire.reading import read_jsonl
from thinwire.report.analysis import analyse
from thinwire.report.compare import _WITHOUT_EXACT_MATCH, ComparedScores, legend, load_rows, main, scores_of
from thinwire.report.figures.files import every_figure
from thinwire.report.html.page import render
from thinwire.report.markdown import report_section
from thinwire.report.markdown.results_section import section, short_section
from thinwire.report.markdown.sweep_record import read_sweep_record, write_sweep_record
from thinwire.report.score_words import begins, names, with_article
from thinwire.report.write import write_reports
from thinwire.results.arm_record import read_arm_record
from thinwire.results.read import read_results
from thinwire.tasks.table import TASKS
from thinwire.tracking.rows import results_of, verdict_columns, verdict_markdown, verdict_rows

OTHER = {"classification": "accuracy", "perplexity": "1/perplexity"}
FORMS = {"page": lambda found: render(found, series()), "report": report_section.section, "section": section}
LAST = ("unique", "min")
FORMS |= {"short": short_section}


def named(text):
    """The names of scores of extractive question answering in a text."""
    return re.findall(r"(?<![A-Za-z0-9_])(?:F1|EM)(?![A-Za-z0-9_])|[Ee]xact match", text)


def with_interaction(name):
    found = example().model_copy(update={"interactions": (interaction("arm", (0.125, 0.1, 0.15), (0.25, 0.2, 0.3)),)})
    return of_task(found, name)


def run_of(folder, name):
    """A sweep's folder as a task leaves it whose answers are not decoded."""
    run = write_run(folder / "run", task=name, metric=TASKS[name].label, report={})  # no words of its own
    for file in [*run.glob("*/record.json"), *run.glob("controls/*/record.json")]:
        one = read_arm_record(file.parent)
        if one.status != "done":
            continue
        results = one.done.model_copy(update={"test": one.done.test.model_copy(update={"degeneration": None})})
        rows = read_jsonl(file.parent / "predictions.jsonl")
        journal = file.parent / "diagnostics.jsonl"
        journal.write_text(journal.read_text().replace("_f1", f"_{TASKS[name].metric}"))
        texts = {"text": "", "raw_text": ""} if TASKS[name].answered_by == "likelihood" else {}
        config = {**one.config, "task": name}
        changes = {"results": results, "config": config, "config_hash": content_hash(config)}
        write_answers(file.parent, one.model_copy(update=changes), [{**row, **texts} for row in rows])
    return run


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "label"), OTHER.items())
def test_a_report_names_the_score_of_its_task_and_no_other(name, label, form):
    text = FORMS[form](with_interaction(name))
    assert named(text) == []
    assert label in text
    assert named(FORMS[form](with_interaction("extractive_qa"))), "and the search for names finds them"


@pytest.mark.parametrize(("name", "label"), OTHER.items())
def test_the_figures_name_the_score_of_their_task(name, label):
    found = [every_figure(one, series()) for one in (with_interaction(name), of_task(study(), name))]
    figures = {figure.name: figure for figure in [*found[0], *found[1]]}
    assert {"standings", "differences", "gains", "ladder", "rank_layers", "by_codec_ratio", "bytes"} <= set(figures)
    for figure in figures.values():
        text = " ".join((figure.title, figure.caption, figure.draw(912).markup, figure.draw(912).words))
        assert named(text) == [], figure.name
        of_no_score = figure.name.startswith("training_") or figure.name in ("frequency", "wire")
        assert of_no_score or label in text.lower(), figure.name


def test_what_is_said_of_answers_is_left_out_where_there_are_none_of_the_models_own():
    choices, texts = (render(of_task(example(), name), series()) for name in OTHER)
    for page in (choices, texts):
        assert 'id="collapse"' not in page
        assert 'href="#collapse"' not in page
        assert 'id="extractors"' not in page
    assert "Right means an accuracy of 1." in choices
    assert 'id="question-data"' in choices
    assert "Nothing is answered: the score of a text, 1/perplexity, is how likely the model finds its words." in texts
    assert 'id="question-data"' not in texts
    assert 'href="#collapse"' in render(example(), series())


def test_a_written_text_has_exact_match_and_form_and_no_extractors():
    found = of_task(example(), "generation")
    assert "| configuration | trained | ROUGE-L | EM | to the baseline |" in section(found)
    assert "ROUGE-L and EM are points on the test questions." in section(found)
    page = render(found, series())
    assert "Right means a ROUGE-L of 1." in page
    assert 'id="collapse"' in page
    assert 'id="extractors"' not in page
    assert set(named(page)) == {"EM", "exact match", "Exact match"}


@pytest.mark.parametrize(("name", "label"), OTHER.items())
def test_a_sweep_of_another_task_is_analysed_and_told_in_its_words(tmp_path, name, label, monkeypatch, capsys):
    def refuse(*args, **options):
        raise AssertionError("there are no texts of the model's own")

    for function in ("gold_metrics", "answer_metrics", "diagnose", "mean_extractor_scores"):
        monkeypatch.setattr(f"thinwire.report.analysis.{function}", refuse)
    run = run_of(tmp_path, name)
    analysis = write_reports(read_results(run))
    assert {row.degeneration for row in analysis.rows} == {row.em_difference for row in analysis.rows} == {None}
    assert f"r16_a32_full gains +31.2 {TASKS[name].unit} over the baseline" in analysis.verdict.sentence
    assert analysis.verdict.baseline_check.startswith(f"baseline {label} 37.5")
    for file in ("sweep_summary.txt", "report.md", "report.html"):
        text = (run / file).read_text(encoding="utf-8")
        assert named(text) == [], file
        assert label in text, file
    summary = (run / "sweep_summary.txt").read_text(encoding="utf-8")
    assert max(map(len, summary.splitlines())) <= 100
    heads, chosen = (next(line for line in summary.splitlines() if word in line) for word in ("configuration", "* r16"))
    assert heads.split() == [*("configuration", "trained", label, "vs", "base", "interval", "p", "tier", "sel"), *LAST]
    assert chosen.split()[-2:] == ["-", "1.5"]  # different answers, and minutes
    assert main([str(run)]) == 0
    assert named(capsys.readouterr().out) == []

    write_sweep_record(tmp_path / "one.json", analysis)
    again = read_sweep_record(tmp_path / "one.json")
    assert (again.task.name, again.sweep.metric) == (name, label)
    assert section(again) == section(analysis)


def test_a_sweep_from_before_there_were_tasks_is_of_extractive_answers(tmp_path):
    run = write_run(tmp_path / "run")
    expected = section(analyse(read_results(run)))
    edit(run / "sweep.json", lambda sweep: [sweep.pop(name) for name in ("task", "metric")])
    found = analyse(read_results(run))
    assert (found.task.name, section(found)) == ("extractive_qa", expected)
    assert scores_of(run) == ComparedScores("F1", shows_exact_match=True)


EARLIER = {"score": "f1", "raw_score": "raw_f1"}


def renamed(content):
    """The entry as earlier versions wrote it."""
    return {EARLIER.get(name, name): value for name, value in content.items()}


def test_records_of_earlier_versions_are_compared(tmp_path):
    run = write_run(tmp_path / "run")
    expected = load_rows(run)
    for one in map(record, ("baseline", "r16_a32_full", "text_lora")):

        def change(content):
            results = content["results"]
            results |= {split: renamed(results[split]) for split in ("selection", "test")}

        edit(folder_of(run, one) / "record.json", change)
    assert "score" not in load(run / "baseline" / "record.json")["results"]["test"]
    assert load_rows(run) == expected
    edit(run / "baseline" / "record.json", lambda content: content["results"]["test"].pop("f1"))
    with pytest.raises(ValueError, match="no complete record \\(KeyError: 'score'\\)"):
        load_rows(run)


def test_an_analysis_of_an_earlier_version_is_compared(tmp_path):
    run = write_run(tmp_path / "run")
    write_reports(read_results(run))
    expected = load_rows(run)
    names = {**EARLIER, "selection_score": "selection_f1", "score_difference": "f1_difference"}

    def change(content):
        content["rows"] = [{names.get(name, name): value for name, value in row.items()} for row in content["rows"]]

    edit(run / "analysis.json", change)
    assert load_rows(run) == expected
    assert any(row["low"] is not None for row in expected)


def test_sweeps_of_two_tasks_have_no_name_of_a_score_in_common(tmp_path):
    first = write_run(tmp_path / "first")
    second = write_run(tmp_path / "second", task="generation", metric="ROUGE-L")
    third = write_run(tmp_path / "third", task="classification", metric="accuracy")
    assert scores_of(first) == ("F1", True)
    assert scores_of(first, second) == ("score", True)
    assert scores_of(second, third) == ("score", False)
    assert legend(scores_of(third)).startswith("* chosen on the selection split; accuracy is a test metric in points,")


def test_a_header_of_others_gives_no_name_that_a_terminal_obeys(tmp_path):
    run = write_run(tmp_path / "run")
    edit(run / "sweep.json", lambda sweep: sweep.update(metric="\x1b[31m", task=["no name"]))
    assert scores_of(run) == ("\\x1b[31m", True)


def test_the_comparison_which_imports_nothing_knows_the_tasks_without_exact_match():
    assert {name for name, task in TASKS.items() if not task.shows_exact_match} == _WITHOUT_EXACT_MATCH


def test_trackers_get_the_scores_that_a_task_has():
    one = record("r16_a32_full", config={"task": "classification"})
    assert results_of(one) == {"selection_score": 0.59375, "test_accuracy": 0.6875}
    found = of_task(example(), "classification")
    assert "em" not in verdict_columns(found.task)
    assert {len(row) for row in verdict_rows(found)} == {len(verdict_columns(found.task))}
    assert "| score | selection_score |" in verdict_markdown(found)


def test_a_model_card_and_the_status_of_a_run_name_the_score(tmp_path):
    run = run_of(tmp_path, "classification")
    text = "\n".join(scores(find_arm(run / "r16_a32_full", device="cpu")))
    assert named(text) == []
    assert "| accuracy | 68.8 |" in text
    assert "`r16_a32_full` gains +31.2 points of accuracy (" in text
    assert name_of_score(run) == "accuracy"
    arm = ArmStatus(name="one", kind="arm", state="done", score=0.5)
    status = RunStatus(name="sweep", folder="run", arms=[arm], seconds_left=None, is_finished=True)
    _, table = render_status(status, "accuracy").renderables
    assert [column.header for column in table.columns][2:4] == ["steps", "accuracy"]


@pytest.mark.parametrize(
    ("name", "joined", "begun", "article"),
    [
        ("extractive_qa", "F1 and EM", "F1", "an F1"),
        ("short_answer", "EM", "EM", "an EM"),
        ("generation", "ROUGE-L and EM", "ROUGE-L", "a ROUGE-L"),
        ("classification", "accuracy", "Accuracy", "an accuracy"),
        ("perplexity", "1/perplexity", "1/perplexity", "a 1/perplexity"),
    ],
)
def test_the_words_for_a_score(name, joined, begun, article):
    task = TASKS[name]
    assert (names(task, " and "), begins(task.label), with_article(task.label)) == (joined, begun, article)
