"""Find a model's checkpoint: a local folder, or files of the Hugging Face hub."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from thinwire.errors import UsageError, foreign, summary
from thinwire.model.checkpoint_files import INDEX, SMALL_FILES, WEIGHTS
from thinwire.model.safe_json import read_object

DEFAULT_MODEL = "smollm2-135m"
"""The model that ``auto`` chooses where the plan's model cannot run."""


def is_cached(repo: str) -> bool:
    """Return whether all weights of a Hugging Face model are in the local cache.

    Raises:
        UsageError: no model can have this name, as the path of a folder that is not there.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(load_error_message(repo, error)) from error
    if isinstance(try_to_load_from_cache(repo, WEIGHTS), str):
        return isinstance(try_to_load_from_cache(repo, "config.json"), str)
    index = try_to_load_from_cache(repo, INDEX)
    if not isinstance(index, str):
        return False
    files = [*_shards(repo, Path(index)), "config.json"]
    return all(isinstance(try_to_load_from_cache(repo, file), str) for file in files)


def _shards(repo: str, index: Path) -> list[str]:
    """Return the names of the files of weights that an index lists."""
    listed = read_object(index, f"model {repo}: {INDEX}").get("weight_map")
    return sorted(set(map(str, listed.values()))) if isinstance(listed, dict) else []


def located(name: str) -> tuple[Path, str]:
    """Return the folder of the checkpoint ``name``, and the hub's commit, which is empty for a local folder.

    Files of the hub are downloaded if the local cache lacks them: settings, tokenizer and safetensors, never code or
    pickles. Their content is not looked at here.

    Raises:
        UsageError: there is no such model, or it cannot be downloaded.
    """
    path = Path(name)
    with foreign(f"no model {name[:100]!r}"):  # a name that no file can have
        is_folder, is_there = path.is_dir(), os.path.lexists(path)
    if is_folder:
        return path, ""
    if is_there:
        raise UsageError(f"{name} is no folder; give the folder of a checkpoint, a .gguf file or a Hugging Face id")
    try:
        validate_repo_id(name)
        folder = _downloaded(name)
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise UsageError(load_error_message(name, error)) from error
    return folder, folder.name


def _downloaded(repo: str) -> Path:
    """Return the snapshot of ``repo`` in the hub's cache, with all files that are read."""
    try:
        folder = Path(snapshot_download(repo, allow_patterns=[*SMALL_FILES, INDEX]))
        weights = [WEIGHTS]
        if (folder / INDEX).exists():
            weights += _shards(repo, folder / INDEX)
        snapshot_download(repo, revision=folder.name, allow_patterns=weights)
    except OSError as error:
        # A cache that cannot be written to, or a hub that is out of reach: what the cache holds may be enough.
        if isinstance(error, HfHubHTTPError | LocalEntryNotFoundError):
            raise
        folder = Path(snapshot_download(repo, local_files_only=True))
    return folder


def load_error_message(name: str, error: BaseException) -> str:
    """Return the message for a model ``name`` that could not be downloaded because of ``error``: cause and remedy."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return (
            f"model {name} is gated: accept its licence at https://huggingface.co/{name}, "
            f"then run `hf auth login`; or use --set model.name={DEFAULT_MODEL}"
        )
    if any(isinstance(cause, RepositoryNotFoundError | HFValidationError) for cause in causes):
        return f"no model {name} on the Hugging Face hub and no such folder; check the name, or use {DEFAULT_MODEL}"
    return (
        f"model {name} is no local folder and the Hugging Face hub did not give it ({summary(error)}); "
        f"check the name and the network, or use {DEFAULT_MODEL}"
    )
