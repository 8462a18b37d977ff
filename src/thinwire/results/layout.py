"""Names and places of the files in a sweep's folder."""

from __future__ import annotations

from pathlib import Path

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$"
"""Pattern of the names of trainings and their folders; none leads out of the sweep's folder."""

HEADER_FILE = "sweep.json"
EXPERIMENT_FILE = "experiment.yaml"
SUMMARY_FILE = "sweep_summary.txt"
ANALYSIS_FILE = "analysis.json"
SEARCH_FILE = "search.json"
SEARCH_FOLDER = "search"
"""Of the candidates of a search of settings: a sweep of its own."""
CODEC_FOLDER = "codec"
RECORD_FILE = "record.json"
DIAGNOSTICS_FILE = "diagnostics.jsonl"
PREDICTIONS_FILE = "predictions.jsonl"
CONTROLS_FOLDER = "controls"
CHECKPOINT_FOLDER = "checkpoint"
STATE_FILES = "unfinished*.safetensors"
"""Resume points of an arm; gone when the arm is done."""
BATCHES_FILE = "unfinished_batches.json"
"""Sizes of decoding batches of an arm; gone when the arm is done."""


def arm_folder(run: Path, name: str, kind: str) -> Path:
    """Where a training's files lie: controls one level deeper, so that ``*/diagnostics.jsonl`` finds arms only."""
    return run / name if kind == "arm" else run / CONTROLS_FOLDER / name


def run_of(folder: Path) -> Path:
    """Return the sweep's folder that an arm's ``folder`` lies in; links are not followed."""
    above = folder.absolute().parent
    return above.parent if above.name == CONTROLS_FOLDER else above
