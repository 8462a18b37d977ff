"""``sweep.json``: what all arms of a sweep share, written when it begins and again when it ends."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from thinwire.errors import ThinwireError, UsageError
from thinwire.reading import read_json
from thinwire.results.arm_record import Environment, Kind
from thinwire.results.interactions import Interaction
from thinwire.results.layout import HEADER_FILE, NAME, RECORD_FILE
from thinwire.results.record import Record, hash_missing, parse_record, unsealed, write_record
from thinwire.tasks.task import TaskName

FORMAT = 3
"""Of the header and of the arm records beside it. Since 3, files carry hashes of their content."""

_WITHOUT_HASH = 2
"""An earlier format, which is still read."""


def _checked_time(text: str) -> str:
    datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    return text


Time = Annotated[str, AfterValidator(_checked_time)]
"""A time in UTC, ISO 8601, to the second: ``2026-01-02T03:04:05Z``."""


class SweepModel(Record):
    """The sweep's model, and the sizes of its embedding matrix."""

    name: str
    revision: str
    matrix_sha256: str
    vocabulary: int
    embedding_width: int
    num_layers: int
    bytes_per_number: int
    text_bits_per_token: float
    """Bits that the training prompts take as UTF-8, per token."""
    quantisation: str | None = None
    """How the model's file stores most weights if it is quantised (``Q4_1``); None if it is not."""


class SweepIdentity(Record):
    """Which sweep it is, and on what it ran."""

    name: str
    description: str
    baseline: str
    experiment_hash: str
    model: SweepModel
    samples: int
    epochs: int
    environment: Environment
    started_at: Time
    finished_at: Time | None
    task: TaskName = "extractive_qa"
    """What was asked; earlier versions did not record it, and had this one alone."""
    metric: str = "F1"
    """What tables call the task's score; for what reads the file without this package."""


class SweepHeader(SweepIdentity):
    """What the arms of a sweep share. A resumed sweep keeps its start and the arms that it planned before."""

    format: int
    verdict: dict[str, Any]
    """The ``VerdictConfig`` as JSON."""
    report: dict[str, Any]
    """The ``ReportConfig`` as JSON."""
    planned: dict[Annotated[str, Field(pattern=NAME)], Kind]
    """Names of all trainings, in the order of the experiment file."""
    training_questions: int | None = None
    """Training questions that were drawn, fewer than ``samples`` if the data hold no more; None if an earlier version
    did not record it."""
    test_questions: int | None = None
    """Test questions in the data, of which an arm may draw fewer; None if an earlier version did not record it."""
    shared_paragraphs: int = 0
    """Test paragraphs that the training or selection questions hold too (``data.allow_shared_paragraphs``)."""
    interactions: dict[str, Interaction] = Field(default={})
    """Differences of two gains that the experiment asks for, by name."""


def write_header(run: Path, header: SweepHeader) -> None:
    """Write ``header`` into the sweep's folder, atomically."""
    write_record(run / HEADER_FILE, header)


def has_header(run: Path) -> bool:
    """Whether ``run`` is the folder of a sweep."""
    return os.path.lexists(run / HEADER_FILE)


def read_header(run: Path) -> SweepHeader:
    """Read what ``write_header`` wrote.

    Raises:
        UsageError: ``run`` is no sweep's folder, or one of another version of Thinwire.
        ThinwireError: the file cannot be read, is damaged or incomplete.
    """
    path = run / HEADER_FILE
    if not has_header(run):
        hint = "; it is an arm's, so name the sweep's, which it lies in" if (run / RECORD_FILE).exists() else ""
        raise UsageError(f"{run} is no sweep's folder: it has no {HEADER_FILE}{hint}")
    content = read_json(path, within=run)
    if not isinstance(content, dict):
        raise ThinwireError(f"{path} is damaged: it holds no JSON object; put an undamaged copy in its place")
    value, is_sealed = unsealed(content, path, run)
    found = value.get("format")
    if found not in (FORMAT, _WITHOUT_HASH):
        raise UsageError(f"{path} has format {found}, this version of Thinwire reads {FORMAT}; run the sweep anew")
    if found == FORMAT and not is_sealed:
        raise hash_missing(path)
    return parse_record(SweepHeader, value, path, "header")
