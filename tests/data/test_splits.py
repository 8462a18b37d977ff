"""Splits that share paragraphs are refused, whichever questions are drawn."""

import json

import pytest

from thinwire.config.settings import DataConfig, EvaluationConfig
from thinwire.data.splits import Splits
from thinwire.errors import UsageError
from tiny_models import squad_document, write_squad

FEW = EvaluationConfig(samples=1, selection_samples=1)


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
