"""Types of the rows in an arm's ``predictions.jsonl`` and ``diagnostics.jsonl``, and reading them."""

from __future__ import annotations

from math import fsum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from thinwire.errors import ThinwireError
from thinwire.reading import read_rows
from thinwire.results.arm_record import ArmRecord
from thinwire.results.integrity import check_file
from thinwire.results.layout import DIAGNOSTICS_FILE, PREDICTIONS_FILE, run_of
from thinwire.results.record import once
from thinwire.schema import Fraction, PositiveInt

_ROUNDING = 1e-9
"""Largest difference of two means of the same scores that is rounding."""


class PredictionRow(TypedDict):
    """An answered test question with its scores, which are fractions."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)  # type: ignore[misc]

    id: str
    paragraph_id: str
    question: str
    golds: Annotated[list[str], Field(min_length=1)]
    raw_text: str
    text: str
    exact_match: Fraction
    score: Annotated[Fraction, Field(validation_alias=once("score", "f1"))]
    raw_exact_match: Fraction
    raw_score: Annotated[Fraction, Field(validation_alias=once("raw_score", "raw_f1"))]
    stop_reason: Literal["end", "newline", "length", "choice", "likelihood"]


class StepRow(TypedDict):
    """The metrics of an optimiser step; those that reports draw are named, others may stand beside them."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)  # type: ignore[misc]

    event: Literal["step"]
    step: PositiveInt
    loss: float
    cosine: float | None
    ce: float | None
    grad_norm_adapter: float | None
    grad_norm_lora: float | None


class EvaluationRow(TypedDict):
    """The scores of a split after an epoch."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)  # type: ignore[misc]

    event: Literal["evaluation"]
    split: Literal["selection", "test"]
    epoch: Annotated[int, Field(ge=0)]
    n: PositiveInt


_PREDICTIONS: TypeAdapter[list[PredictionRow]] = TypeAdapter(list[PredictionRow])
_DIAGNOSTICS: TypeAdapter[list[StepRow | EvaluationRow]] = TypeAdapter(
    list[Annotated[StepRow | EvaluationRow, Field(discriminator="event")]]
)


def read_predictions(folder: Path, record: ArmRecord) -> list[dict[str, Any]]:
    """Read the answers of the arm in ``folder``, which is done.

    Raises:
        ThinwireError: they are missing, damaged, or not those that the record tells the scores of.
    """
    path = check_file(folder, record, PREDICTIONS_FILE)
    rows: list[dict[str, Any]] = [dict(row) for row in read_rows(path, _PREDICTIONS, run_of(folder))]
    test = record.done.test
    if len(rows) != test.n:
        raise ThinwireError(f"{path} has {len(rows)} answers, {test.n} in the record of {record.name}")
    line_of: dict[str, int] = {}
    for line, row in enumerate(rows, start=1):
        if (before := line_of.setdefault(row["id"], line)) != line:
            raise ThinwireError(f"{path}, line {line}: question {row['id']!r} is answered in line {before} already")
    for name in ("score", "exact_match", "raw_score", "raw_exact_match"):
        found, expected = fsum(row[name] for row in rows) / len(rows), getattr(test, name)
        if abs(found - expected) > _ROUNDING:
            raise ThinwireError(
                f"{path}: its {name} is {found:.6f}, {expected:.6f} in the record of {record.name}; "
                "one of the two is not the arm's own"
            )
    return rows


def read_steps(folder: Path, record: ArmRecord) -> list[dict[str, Any]]:
    """Read the optimiser steps of the arm in ``folder``, which is done.

    Raises:
        ThinwireError: the diagnostics are missing, damaged, or not those of the record.
    """
    path = check_file(folder, record, DIAGNOSTICS_FILE)
    rows: list[dict[str, Any]] = [dict(row) for row in read_rows(path, _DIAGNOSTICS, run_of(folder))]
    scores = [row for row in rows if row["event"] == "evaluation" and row["split"] == "test"]
    name = f"test_{record.task.metric}"
    if len(scores) != 1 or scores[0].get(name) != record.done.test.score:
        raise ThinwireError(f"{path}: its {name} is not the score in the record of {record.name}")
    return [row for row in rows if row["event"] == "step"]
