"""What the pages show beside the analysis: training curves, reconstruction by frequency, answers side by side."""

from __future__ import annotations

from typing import Any

from thinwire.report.analysis_record import Analysis
from thinwire.results.read import CODEC, TEXT, Finished, Results
from thinwire.results.rows import read_steps

Series = dict[str, Any]

NO_SERIES: Series = {"training": {}, "frequency": None, "questions": []}
"""What is known where the sweep's folder is gone."""

_CURVES = ("step", "loss", "cosine", "ce", "grad_norm_adapter", "grad_norm_lora")


def collect(results: Results, analysis: Analysis) -> Series:
    """The series of a sweep; of several seeds of an arm, the first."""
    return {
        "training": {name: _curves(runs[0]) for name, runs in results.arms.items() if runs[0].record.done.training},
        "frequency": _frequency(results),
        "questions": _questions(results, analysis.verdict.best),
    }


def _curves(run: Finished) -> dict[str, list[float | None]]:
    steps = read_steps(run.folder, run.record)
    return {name: [step[name] for step in steps] for name in _CURVES}


def _frequency(results: Results) -> list[dict[str, Any]] | None:
    """Reconstruction by token frequency: the bare codec beside the adapter that all arms start from."""
    codec = results.controls.get(CODEC)
    at_start = (runs[0].record.done.reconstruction_at_start for runs in results.arms.values())
    first = next(filter(None, at_start), None)
    if first is None:
        return None
    alone = codec[0].record.done.reconstruction if codec else None
    linear = {bucket.least: bucket.cosine for bucket in alone.by_frequency} if alone else {}
    return [
        {
            "bucket": f"{bucket.least:,}+" if bucket.most is None else f"{bucket.least:,}-{bucket.most:,}",
            "share_of_tokens": bucket.share_of_tokens,
            "linear_cosine": linear.get(bucket.least),
            "start_cosine": bucket.cosine,
        }
        for bucket in first.by_frequency
    ]


def _questions(results: Results, best: str) -> list[dict[str, Any]]:
    sources = {
        "text_control": results.controls.get(TEXT),
        "baseline": results.arms.get(results.sweep.baseline),
        "best": results.arms[best],
    }
    answers = {
        role: {row["id"]: {"text": row["text"], "score": row["score"]} for row in runs[0].predictions} if runs else {}
        for role, runs in sources.items()
    }
    return [
        {
            "id": row["id"],
            "question": row["question"],
            "golds": row["golds"],
            **{role: found.get(row["id"]) for role, found in answers.items()},
        }
        for row in results.arms[best][0].predictions
    ]
