import json
from pathlib import Path

import pytest

from thinwire.config.settings import DataConfig
from thinwire.data import sources
from thinwire.data.sources import load_questions, load_test_questions
from thinwire.errors import UsageError
from tiny_models import write_squad

ROWS = {
    "train": [{"id": "a", "title": "T", "context": "Ada.", "question": "Who?", "answers": ["Ada"]}],
    "validation": [{"id": "b", "title": "T", "context": "Bob.", "question": "Who?", "answers": ["Bob"]}],
}


@pytest.fixture
def default_data(tmp_path, monkeypatch):
    """Put the default data into the cache: six articles for training, one for testing."""
    folder = tmp_path / "cache" / "assets" / "squad"
    folder.mkdir(parents=True)
    write_squad(folder / "train-v1.1.json", num_articles=6, questions=2)
    write_squad(folder / "dev-v1.1.json", num_articles=1, questions=2)
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Use Hugging Face's loader offline, with a separate cache."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def dataset_folder(folder: Path, splits: dict[str, list[dict]]) -> str:
    folder.mkdir()
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_squad_is_the_train_file_to_train_and_the_dev_file_to_test(default_data):
    assert len(load_questions("squad", "train")) == 12
    assert len(load_questions("squad", "test")) == 2


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_file_has_no_splits(tmp_path, split):
    path = write_squad(tmp_path / "mine.json", num_articles=2, questions=1)
    assert [x.id for x in load_questions(str(path), split)] == ["0-0", "1-0"]


def test_test_questions_are_the_dev_split_of_the_training_data_by_default(default_data):
    assert [x.id for x in load_test_questions(DataConfig())] == ["0-0", "0-1"]


def test_test_questions_come_from_the_given_source(default_data, tmp_path):
    path = write_squad(tmp_path / "mine.json", num_articles=1, questions=1)
    assert [x.id for x in load_test_questions(DataConfig(train="squad", test=str(path)))] == ["0-0"]
    assert len(load_test_questions(DataConfig(train=str(path), test="squad"))) == 2


@pytest.mark.parametrize("name", ["mine.json", "mine.jsonl"])
def test_a_single_file_to_train_on_is_never_tested_on_unasked(tmp_path, name):
    write_squad(tmp_path / name)
    with pytest.raises(UsageError, match=r"single file without a dev split.*data\.test=FILE.*data\.test_articles=N$"):
        load_test_questions(DataConfig(train=str(tmp_path / name)))


def test_unanswerable_questions_are_refused_or_dropped_as_configured(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [ROWS["train"][0], {**ROWS["train"][0], "answers": []}]))
    with pytest.raises(UsageError, match="1 unanswerable"):
        load_test_questions(DataConfig(test=str(path)))
    assert len(load_test_questions(DataConfig(test=str(path), unanswerable="drop"))) == 1


def test_a_missing_file_is_named():
    with pytest.raises(UsageError, match=r"no data file absent\.json"):
        load_questions("absent.json", "train")


def test_a_dataset_folder_is_read_by_split_and_tested_on_its_validation_split(hub, tmp_path):
    source = dataset_folder(tmp_path / "mine", ROWS)
    assert [x.id for x in load_questions(source, "train")] == ["a"]
    assert [(x.id, x.answers, x.article) for x in load_test_questions(DataConfig(train=source))] == [
        ("b", ("Bob",), "T")
    ]


def test_a_dataset_without_a_split_to_test_on_is_refused_with_those_it_has(hub, tmp_path):
    source = dataset_folder(tmp_path / "mine", {"train": ROWS["train"]})
    with pytest.raises(UsageError, match=r"has no validation or test or dev split, only train; .*data\.test"):
        load_questions(source, "test")


def test_a_dataset_without_a_column_that_is_needed_is_refused_by_its_name(hub, tmp_path):
    row = {key: value for key, value in ROWS["train"][0].items() if key != "answers"}
    with pytest.raises(UsageError, match=r"mine \(train\): no field 'answers'; there are: 'id', 'title', "):
        load_questions(dataset_folder(tmp_path / "mine", {"train": [row]}), "train")


def test_a_missing_dataset_is_refused_in_one_line(hub, tmp_path):
    with pytest.raises(UsageError, match=r"no Hugging Face dataset '.* here or on the hub .*absent") as caught:
        load_questions(str(tmp_path / "absent"), "train")
    assert "\n" not in str(caught.value)


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"'owner/data' is neither squad nor .*pip install 'thinwire\[datasets\]'"):
        load_questions("owner/data", "train")
