"""Load questions from the default data, a file, or a Hugging Face dataset."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

from thinwire.assets import fetch
from thinwire.config.settings import ColumnsConfig, DataConfig
from thinwire.data.columns import check_columns
from thinwire.data.squad import DATA_ENDINGS, Example, Mismatched, Unanswerable, from_rows, read_examples
from thinwire.data.squad_json import holds_list
from thinwire.errors import UsageError, shown, summary
from thinwire.inputs import check_path
from thinwire.regular_file import NotRegularError, check_regular

Split = Literal["train", "test"]
_FILES: dict[Split, str] = {"train": "train-v1.1.json", "test": "dev-v1.1.json"}
_HUB_SPLITS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("validation", "test", "dev")}
_ENDINGS = f"{', '.join(DATA_ENDINGS[:-1])} or {DATA_ENDINGS[-1]}"
_DEFAULT_COLUMNS = ColumnsConfig()


def load_questions(
    source: str,
    split: Split,
    unanswerable: Unanswerable = "refuse",
    mismatched: Mismatched = "refuse",
    columns: ColumnsConfig = _DEFAULT_COLUMNS,
) -> list[Example]:
    """Load all questions of ``source``: ``squad``, a data file, or a Hugging Face dataset id or folder.

    A file has no splits; it is returned whole for either split. ``columns`` are those of a table; ``squad`` and other
    SQuAD-format JSON have fields with names of their own.

    Raises:
        UsageError: there is no such data, or it has another format.
    """
    if source == "squad":
        return read_examples(fetch("squad")[_FILES[split]], unanswerable, mismatched)
    path = check_path(source, "data")
    if _is_file_name(source):
        return read_examples(path, unanswerable, mismatched, columns)
    if path.exists() and not path.is_dir():
        raise UsageError(f"the data {source} is no {_ENDINGS} file; expected squad, such a file, or a dataset")
    return _from_hub(source, split, unanswerable, mismatched, columns)


def check_columns_apply(columns: ColumnsConfig, *sources: str) -> None:
    """Refuse columns that no source has a use for, because none is a table.

    Raises:
        UsageError: columns were named, and all sources are SQuAD-format JSON; or one cannot be read.
    """
    if columns != _DEFAULT_COLUMNS and not any(map(_is_table, sources)):
        raise UsageError(
            f"data.columns (evaluate, score: --columns) names columns, but {' and '.join(sources)} "
            f"{'is' if len(sources) == 1 else 'are'} in SQuAD's format, whose fields have names of their own; take it "
            "out, or name a table"
        )


def _is_table(source: str) -> bool:
    if source == "squad":
        return False
    return not source.lower().endswith(".json") or holds_list(check_path(source, "data"))


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
    return load_questions(source, "test", config.unanswerable, config.mismatched, config.columns)


def _is_file_name(source: str) -> bool:
    return source.lower().endswith(DATA_ENDINGS)


def _from_hub(
    source: str, split: Split, unanswerable: Unanswerable, mismatched: Mismatched, columns: ColumnsConfig
) -> list[Example]:
    if importlib.util.find_spec("datasets") is None:
        raise UsageError(
            f"{source!r} is neither squad nor a {_ENDINGS} file; to read it as a Hugging Face dataset, "
            "install the package with its extra: pip install 'thinwire[datasets]'"
        )
    splits = _loaded(source)
    name = next((name for name in _HUB_SPLITS[split] if name in splits), None)
    if name is None:
        raise UsageError(
            f"dataset {source} has no {' or '.join(_HUB_SPLITS[split])} split, only {', '.join(splits)}; "
            f"name another source with data.{split}"
        )
    table, where = splits[name], f"{source} ({name})"
    # Others may hold pictures or sounds, which reading a row would decode.
    rows = table.select_columns(check_columns(table.column_names, columns, where))
    return from_rows(rows, source=where, unanswerable=unanswerable, mismatched=mismatched, columns=columns)


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
