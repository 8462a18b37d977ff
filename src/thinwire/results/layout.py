"""Names and places of the files in a sweep's folder."""

from __future__ import annotations

from pathlib import Path

HEADER_FILE = "sweep.json"
EXPERIMENT_FILE = "experiment.yaml"
SUMMARY_FILE = "sweep_summary.txt"
SEARCH_FILE = "search.json"
SEARCH_FOLDER = "search"
"""Of the candidates of a search of settings: a sweep of its own."""
CODEC_FOLDER = "codec"
RECORD_FILE = "record.json"
DIAGNOSTICS_FILE = "diagnostics.jsonl"
PREDICTIONS_FILE = "predictions.jsonl"
CHECKPOINT_FOLDER = "checkpoint"
STATE_FILES = "unfinished*.safetensors"
"""Resume points of an arm; gone when the arm is done."""


def arm_folder(run: Path, name: str, kind: str) -> Path:
    """Where a training's files lie: controls one level deeper, so that ``*/diagnostics.jsonl`` finds arms only."""
    return run / name if kind == "arm" else run / "controls" / name
