"""Splits are drawn by whole articles, and are refused if they share paragraphs, whichever questions are drawn."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.config.settings import DataConfig, EvaluationConfig
from thinwire.data.splits import Splits, hold_out_articles
from thinwire.data.squad import from_rows
from thinwire.errors import UsageError
from thinwire.schema import build
from tiny_models import squad_document, write_squad

FEW = EvaluationConfig(samples=1, selection_samples=1)
ALL = EvaluationConfig(samples="all", selection_samples=1000)


def splits(folder, **changes):
    """Splits of six training articles, of which two are held out, and the given data settings."""
    train = write_squad(folder / "train.json")
    settings = {"train": str(train), "samples": 1, "selection_articles": 2, **changes}
    return Splits(DataConfig(**settings), seed=0)


def test_training_and_testing_on_the_same_file_is_refused(tmp_path):
    same = splits(tmp_path, test=str(tmp_path / "train.json"))
    # Six articles of one paragraph, of which four are trained on.
    message = (
        r"^4 paragraphs of the test questions \(data\.test=.*train\.json\) are also in the training questions "
        r"\(data\.train=.*train\.json\), such as 'Town \d-0 has .*data\.allow_shared_paragraphs=true$"
    )
    with pytest.raises(UsageError, match=message):
        same.drawn(FEW)


def test_a_held_out_paragraph_that_is_tested_on_is_refused(tmp_path):
    held_out = splits(tmp_path, test=str(write_squad(tmp_path / "test.json", first=6))).drawn(
        EvaluationConfig(samples=1, selection_samples=8)
    )
    number = int(held_out.selection[0].article.split()[1])
    test = write_squad(tmp_path / "test.json", num_articles=1, first=number)
    with pytest.raises(UsageError, match=r"^1 paragraph of the test questions .* is also in the selection questions"):
        splits(tmp_path, test=str(test)).drawn(FEW)


def test_a_paragraph_in_a_training_and_a_held_out_article_is_refused(tmp_path):
    document = squad_document()
    for article in document["data"]:  # so that one of the two is in any two articles
        article["paragraphs"].append({"context": "Said of every town.", "qas": []})
        qa = {"id": article["title"], "question": "Of what?", "answers": [{"text": "town", "answer_start": 14}]}
        article["paragraphs"][1]["qas"].append(qa)
    (tmp_path / "double.json").write_text(json.dumps(document))
    test = write_squad(tmp_path / "test.json", first=6)
    with pytest.raises(UsageError, match=r"^1 paragraph of the selection questions .* is also in the training quest"):
        splits(tmp_path, train=str(tmp_path / "double.json"), test=str(test)).drawn(FEW)


def test_what_is_shared_is_counted_where_it_is_allowed(tmp_path):
    test = write_squad(tmp_path / "test.json", num_articles=3, first=4)  # articles 4 and 5 are in the training file
    allowed = splits(tmp_path, test=str(test), allow_shared_paragraphs=True)
    assert len(allowed.drawn(FEW).test) == 1
    assert allowed.num_shared_paragraphs == 2
    assert sum(len(overlap.paragraphs) for overlap in allowed.overlaps) == 2
    assert allowed.num_test_questions == 12


def test_data_that_share_nothing_are_accepted(tmp_path):
    apart = splits(tmp_path, test=str(write_squad(tmp_path / "test.json", first=6)))
    assert len(apart.drawn(FEW).train) == 1
    assert (apart.overlaps, apart.num_shared_paragraphs) == ((), 0)


def articles(examples):
    return {example.article for example in examples}


def test_questions_are_the_same_as_ever_where_no_articles_are_tested_on(tmp_path):
    train = write_squad(tmp_path / "train.json", num_articles=12)
    test = write_squad(tmp_path / "test.json", first=12)
    data = DataConfig(train=str(train), test=str(test), samples=20, selection_articles=3)
    drawn = Splits(data, seed=0).drawn(EvaluationConfig(samples=9, selection_samples=5))
    # Recorded before test articles could be held out: finished sweeps have their questions by these draws.
    assert drawn.hashes.model_dump() == {
        "train": "58fabd98c9d77061d45b40bd1063d92b165a033bcebf1061628e0a8e6aecd058",
        "selection": "6e6afdcf6168c496f5e70fad6888ba0313ff632432a220ed7a7b121539f567ca",
        "test": "160cb40c381a6bdc4bebafd9aa87eed5a84ce1aa376ab05778c65b5ab8412324",
    }


def test_test_articles_come_from_the_train_set_beside_the_same_selection_articles(tmp_path):
    # Six articles of four questions: two are selected by, three are tested on, and one is left to train on.
    test = str(write_squad(tmp_path / "test.json", first=6))
    plain = splits(tmp_path, test=test, samples=1000).drawn(ALL)
    held_out = splits(tmp_path, test_articles=3, samples=1000)
    drawn = held_out.drawn(ALL)
    assert drawn.selection == plain.selection
    assert [len(articles(split)) for split in (drawn.train, drawn.selection, drawn.test)] == [1, 2, 3]
    assert articles(drawn.train) | articles(drawn.test) == articles(plain.train)
    assert [len(drawn.train), len(drawn.test), held_out.num_test_questions] == [4, 12, 12]
    assert (held_out.overlaps, held_out.num_shared_paragraphs) == ((), 0)


def test_fewer_questions_of_test_articles_are_the_first_of_all(tmp_path):
    held_out = splits(tmp_path, test_articles=3)
    some = held_out.drawn(EvaluationConfig(samples=5, selection_samples=1)).test
    assert some == held_out.drawn(ALL).test[:5]


def test_a_paragraph_in_a_training_and_a_test_article_is_refused(tmp_path):
    document = squad_document()
    for article in document["data"]:  # so that one of the two is in any two articles
        qa = {"id": article["title"], "question": "Of what?", "answers": [{"text": "town", "answer_start": 14}]}
        article["paragraphs"].append({"context": "Said of every town.", "qas": [qa]})
    (tmp_path / "double.json").write_text(json.dumps(document))
    message = (
        r"^1 paragraph of the test questions \(data\.test_articles=2 of data\.train=.*double\.json\) is also in the tr"
    )
    with pytest.raises(UsageError, match=message):
        splits(tmp_path, train=str(tmp_path / "double.json"), test_articles=2).drawn(FEW)


@pytest.mark.parametrize("num", [4, 5])
def test_testing_on_every_article_that_is_left_is_refused(tmp_path, num):
    with pytest.raises(
        UsageError,
        match=rf"^data\.selection_articles=2 and data\.test_articles={num} cannot be held out of 6 articles; give "
        "numbers with a sum of 5 or less, or data with more articles",
    ):
        splits(tmp_path, test_articles=num).drawn(FEW)


def test_two_sources_of_test_questions_are_refused():
    with pytest.raises(
        UsageError, match=r"^data: test=mine\.json and test_articles=3 are two .* set one of them to null"
    ):
        build(DataConfig, {"test": "mine.json", "test_articles": 3}, where="data")


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ({}, "the dev split of data.train=squad"),
        ({"test": "mine.json"}, "data.test=mine.json"),
        ({"test_articles": 3}, "data.test_articles=3 of data.train=squad"),
    ],
)
def test_the_source_of_the_test_questions_is_told_by_its_setting(settings, source):
    assert Splits(DataConfig(**settings), seed=0).test_source == source


@given(st.integers(3, 12), st.data(), st.integers(0, 9))
@settings(derandomize=True, deadline=None)
def test_every_article_is_in_one_split_whatever_the_numbers(available, data, seed):
    num_selection = data.draw(st.integers(1, available - 2))
    num_test = data.draw(st.integers(1, available - num_selection - 1))
    rows = [
        {"id": f"{a}-{q}", "title": f"t{a}", "context": f"c{a}", "question": "?", "answers": ["c"]}
        for a in range(available)
        for q in range(2)
    ]
    everything = from_rows(rows, source="test", unanswerable="refuse")
    rest, selection = hold_out_articles(everything, num_selection, seed)
    train, test = hold_out_articles(rest, num_test, seed, "test")
    assert len(articles(selection)) == num_selection
    assert len(articles(test)) == num_test
    assert len(articles(train)) == available - num_selection - num_test
    assert sorted(example.id for example in train + selection + test) == sorted(example.id for example in everything)
