"""Load questions from the default data, a file, or a Hugging Face dataset."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

from thinwire.assets import fetch
from thinwire.config.settings import DataConfig
from thinwire.data.squad import Example, Unanswerable, from_rows, read_examples
from thinwire.errors import UsageError

Split = Literal["train", "test"]
_FILES: dict[Split, str] = {"train": "train-v1.1.json", "test": "dev-v1.1.json"}
_HUB_SPLITS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("validation", "test", "dev")}


def load_questions(source: str, split: Split, unanswerable: Unanswerable = "refuse") -> list[Example]:
    """Load all questions of ``source``: ``squad``, a ``.json`` or ``.jsonl`` file, or a Hugging Face dataset id or
    folder.

    A file has no splits; it is returned whole for either split.

    Raises:
        UsageError: there is no such data, or it has another format.
    """
    if source == "squad":
        return read_examples(fetch("squad")[_FILES[split]], unanswerable)
    if source.endswith((".json", ".jsonl")):
        return read_examples(Path(source), unanswerable)
    return _from_hub(source, split, unanswerable)


def load_test_questions(config: DataConfig) -> list[Example]:
    """Load the test questions that are not held out of the train set: ``data.test``, else the dev split of
    ``data.train``.

    Raises:
        UsageError: neither exists.
    """
    if config.test is None and config.train.endswith((".json", ".jsonl")):
        raise UsageError(
            f"data.train={config.train} is a single file without a dev split; name the test questions too: "
            "--set data.test=FILE (or data.test=squad), or hold some out of it: --set data.test_articles=N"
        )
    return load_questions(config.test or config.train, "test", config.unanswerable)


def _from_hub(source: str, split: Split, unanswerable: Unanswerable) -> list[Example]:
    if importlib.util.find_spec("datasets") is None:
        raise UsageError(
            f"{source!r} is neither squad nor a .json or .jsonl file; to read it as a Hugging Face dataset, "
            "install the package with its extra: pip install 'thinwire[datasets]'"
        )
    import datasets  # optional, and slow to import

    try:
        splits = datasets.load_dataset(source)
        name = next((name for name in _HUB_SPLITS[split] if name in splits), None)
        if name is None:
            raise UsageError(
                f"dataset {source} has no {' or '.join(_HUB_SPLITS[split])} split, only {', '.join(splits)}; "
                f"name another source with data.{split}"
            )
        return from_rows(splits[name], source=f"{source} ({name})", unanswerable=unanswerable)
    except KeyError as error:
        raise UsageError(f"dataset {source} has no column {error}; expected id, context, question, answers") from None
    except UsageError:
        raise
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UsageError(f"no Hugging Face dataset {source!r} here or on the hub ({reason}); or use squad") from error
