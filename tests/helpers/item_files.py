"""Files of scores: the logs of other tools that lie beside the tests, and small files made up for one test."""

import json
import zipfile
from pathlib import Path

LOGS = Path(__file__).parents[1] / "items" / "logs"
LM_EVAL = LOGS / "lm_eval"
INSPECT = LOGS / "inspect"


def lm_eval_results(model: str, task: str) -> dict:
    """Return what lm-eval itself computed of a run: its metrics by name and filter."""
    (file,) = (LM_EVAL / model).glob("results_*.json")
    return json.loads(file.read_text(encoding="utf-8"))["results"][task]


def lm_eval_samples(model: str, task: str) -> Path:
    """Return the samples file of a run."""
    (file,) = (LM_EVAL / model).glob(f"samples_{task}_*.jsonl")
    return file


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_scores(path: Path, scores: list[float], **columns: list) -> Path:
    """Write plain JSON Lines: ids q0, q1 ..., a score each, and further columns."""
    rows = [{"id": f"q{i}", "score": score} for i, score in enumerate(scores)]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return write_lines(path, rows)


def inspect_log(path: Path, samples: list[dict], **header) -> Path:
    """Write an .eval log with the members that are read, as Inspect names them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"status": "success", "eval": {"config": {}}} | header))
        archive.writestr("summaries.json", json.dumps(samples))
    return path


def sample(id_: int | str, value: object, epoch: int = 1, **fields) -> dict:
    """Make a sample of Inspect with one scorer, ``match``."""
    return {"id": id_, "epoch": epoch, "input": "?", "target": "!", "scores": {"match": {"value": value}}} | fields
