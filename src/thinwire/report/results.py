"""Reading a sweep's folder back: its header, its records and predictions, checked to belong together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinwire.errors import UsageError
from thinwire.records import read_json, read_jsonl

CEILING, TEXT, CODEC = "text_lora", "text_zero_shot", "codec_only"
"""The plan's controls that reports look for; each may be missing."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One training that is done: its record, and its predictions on the test questions."""

    record: dict[str, Any]
    predictions: list[dict[str, Any]]
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that a sweep left."""

    folder: Path
    sweep: dict[str, Any]
    arms: dict[str, list[Finished]]
    """Finished trainings by arm, one for each seed, in the order planned."""
    controls: dict[str, Finished]
    unfinished: list[dict[str, Any]]
    """Records of what failed or was cancelled."""


def is_complete(run: Path) -> bool:
    """Whether every training that was planned has ended and some arm is done: a report can be made."""
    records = [record_folder(run, *item) / "record.json" for item in read_json(run / "sweep.json")["planned"].items()]
    if not all(file.is_file() for file in records):
        return False
    return any(record["kind"] == "arm" and record["status"] == "done" for record in map(read_json, records))


def read_results(run: Path) -> Results:
    """Read the folder of a finished sweep.

    Raises:
        UsageError: no sweep's folder, a sweep that has not ended, or records that do not belong together.
    """
    if not (run / "sweep.json").is_file():
        raise UsageError(f"{run} is no sweep's folder: it has no sweep.json")
    sweep = read_json(run / "sweep.json")
    records = {}
    for name, kind in sweep["planned"].items():
        folder = record_folder(run, name, kind)
        if not (folder / "record.json").is_file():
            raise UsageError(f"{run} is not finished: {name} has no record; continue it with --resume")
        records[folder] = read_json(folder / "record.json")
    done = {folder: record for folder, record in records.items() if record["status"] == "done"}
    if not any(record["kind"] == "arm" for record in done.values()):
        raise UsageError(f"{run} has no arm that is done, so there is nothing to report; see the training logs")
    _refuse_mixed(run, sweep, list(done.values()))
    finished = [
        Finished(record=record, predictions=read_jsonl(folder / "predictions.jsonl"), folder=folder)
        for folder, record in done.items()
    ]
    arms: dict[str, list[Finished]] = {}
    for one in finished:
        if one.record["kind"] == "arm":
            arms.setdefault(one.record["arm"], []).append(one)
    return Results(
        folder=run,
        sweep=sweep,
        arms=arms,
        controls={one.record["name"]: one for one in finished if one.record["kind"] == "control"},
        unfinished=[record for record in records.values() if record["status"] != "done"],
    )


def record_folder(run: Path, name: str, kind: str) -> Path:
    """Where a training's files lie: controls one level deeper, so that ``*/diagnostics.jsonl`` finds arms only."""
    return run / name if kind == "arm" else run / "controls" / name


def _refuse_mixed(run: Path, sweep: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """Figures of two experiments side by side would be read as one."""
    for record in records:
        if record["model"]["revision"] != sweep["model"]["revision"]:
            raise UsageError(f"{run} is mixed: {record['name']} used the model {record['model']['name']}, another one")
        for split in ("train", "test"):
            if record["data"][split] != records[0]["data"][split]:
                raise UsageError(
                    f"{run} is mixed: {record['name']} and {records[0]['name']} differ in {split} questions"
                )
        if record["environment"]["thinwire"] != sweep["environment"]["thinwire"]:
            raise UsageError(
                f"{run} is stale: {record['name']} was made by thinwire {record['environment']['thinwire']}, the sweep "
                f"by {sweep['environment']['thinwire']}; run it anew into another folder"
            )
