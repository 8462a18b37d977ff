"""``search.json``: the settings that a search chose for each arm, and the scores that they were chosen by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from thinwire.results.layout import SEARCH_FILE
from thinwire.results.record import Record, carries_hashes, once, read_record, write_record


class CandidateScore(Record):
    """One combination of values, and how the arm did with it."""

    name: str
    """Of the training, below ``search/``."""
    values: dict[str, Any]
    """By the setting's path."""
    selection_score: Annotated[float | None, Field(validation_alias=once("selection_score", "selection_f1"))]
    """Score on the selection questions, as a fraction; null if the training failed."""


class ArmSearch(Record):
    """The search of an arm's or control's settings."""

    config_hash: str
    """Of the arm's settings before the search: a choice holds for them alone."""
    candidates: tuple[CandidateScore, ...]
    chosen: dict[str, Any] | None
    """The values with the highest selection score, the first of equals; null if all candidates failed."""
    edges: tuple[str, ...]
    """Settings whose chosen value is the smallest or the largest of the numbers searched, so that a better one may lie
    beyond; none where all candidates score alike."""


class SearchRecord(Record):
    """The searches of a sweep, by arm or control."""

    arms: dict[str, ArmSearch]


def write_search_record(run: Path, record: SearchRecord) -> None:
    """Write ``record`` into the sweep's folder, atomically."""
    write_record(run / SEARCH_FILE, record)


def read_search_record(run: Path) -> SearchRecord:
    """Read what ``write_search_record`` wrote; a record of no arms if there is none.

    Raises:
        ThinwireError: the file cannot be read, or is no such record.
    """
    path = run / SEARCH_FILE
    if not os.path.lexists(path):
        return SearchRecord(arms={})
    needs_hash = carries_hashes(run)
    return read_record(SearchRecord, path, "record of a search", run, needs_hash=lambda _: needs_hash)
