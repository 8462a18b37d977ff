"""Load questions from the default data, a file, or a Hugging Face dataset."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

from thinwire.assets import fetch
from thinwire.config.settings import DataConfig
from thinwire.data.squad import Example, Mismatched, Unanswerable, from_rows, read_examples
from thinwire.errors import UsageError, shown, summary
from thinwire.inputs import check_path
from thinwire.regular_file import NotRegularError, check_regular

Split = Literal["train", "test"]
_FILES: dict[Split, str] = {"train": "train-v1.1.json", "test": "dev-v1.1.json"}
_HUB_SPLITS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("validation", "test", "dev")}
_FILE_ENDINGS = (".json", ".jsonl")


def load_questions(
    source: str, split: Split, unanswerable: Unanswerable = "refuse", mismatched: Mismatched = "refuse"
) -> list[Example]:
    """Load all questions of ``source``: ``squad``, a ``.json`` or ``.jsonl`` file, or a Hugging Face dataset id or
    folder.

    A file has no splits; it is returned whole for either split.

    Raises:
        UsageError: there is no such data, or it has another format.
    """
    if source == "squad":
        return read_examples(fetch("squad")[_FILES[split]], unanswerable, mismatched)
    path = check_path(source, "data")
    if _is_file_name(source):
        return read_examples(path, unanswerable, mismatched)
    if path.exists() and not path.is_dir():
        raise UsageError(f"the data {source} is no .json or .jsonl file; expected squad, such a file, or a dataset")
    return _from_hub(source, split, unanswerable, mismatched)


def load_test_questions(config: DataConfig) -> list[Example]:
    """Load the test questions that are not held out of the train set: ``data.test``, else the dev split of
    ``data.train``.

    Raises:
        UsageError: neither exists.
    """
    if config.test is None and _is_file_name(config.train):
        raise UsageError(
            f"data.train={config.train} is a single file without a dev split; name the test questions too: "
            "--set data.test=FILE (or data.test=squad), or hold some out of it: --set data.test_articles=N"
        )
    source = config.train if config.test is None else config.test
    return load_questions(source, "test", config.unanswerable, config.mismatched)


def _is_file_name(source: str) -> bool:
    return source.lower().endswith(_FILE_ENDINGS)


def _from_hub(source: str, split: Split, unanswerable: Unanswerable, mismatched: Mismatched) -> list[Example]:
    if importlib.util.find_spec("datasets") is None:
        raise UsageError(
            f"{source!r} is neither squad nor a .json or .jsonl file; to read it as a Hugging Face dataset, "
            "install the package with its extra: pip install 'thinwire[datasets]'"
        )
    splits = _loaded(source)
    name = next((name for name in _HUB_SPLITS[split] if name in splits), None)
    if name is None:
        raise UsageError(
            f"dataset {source} has no {' or '.join(_HUB_SPLITS[split])} split, only {', '.join(splits)}; "
            f"name another source with data.{split}"
        )
    return from_rows(splits[name], source=f"{source} ({name})", unanswerable=unanswerable, mismatched=mismatched)


def _loaded(source: str) -> Any:
    """Load a dataset's splits with Hugging Face's library, which turns its files into rows.

    Raises:
        UsageError: whatever the library raises: it is code of others on files of others.
    """
    import datasets  # optional, and slow to import

    for file in Path(source).rglob("*") if Path(source).is_dir() else ():
        try:
            if not file.is_dir():
                check_regular(file)
        except NotRegularError as error:
            raise UsageError(f"dataset {source} holds {file.name}, which is {error.found}; take it out") from None
    # Versions before 4 would otherwise ask on standard input whether to run a dataset's code.
    datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = False
    try:
        return datasets.load_dataset(source)
    except Exception as error:
        causes = error.__cause__ or error.__context__ or error
        reason = summary(error) if causes is error else f"{summary(error)}: {summary(causes)}"
        raise UsageError(
            f"no Hugging Face dataset {shown(source)} here or on the hub ({reason}); or use squad"
        ) from error
