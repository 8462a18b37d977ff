"""From a sweep's records to every figure that its reports show: one analysis, many renderings.

F1, EM and differences are fractions; renderings show points. What is missing is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from thinwire.ceiling import paired_ceiling_share
from thinwire.collapse import Diagnosis, diagnose
from thinwire.config import VerdictConfig
from thinwire.pairing import Run
from thinwire.postprocess import score_extractors
from thinwire.report.compare import code_bits
from thinwire.report.compression import alarms, codecs, sizes, table_bytes
from thinwire.report.results import CEILING, CODEC, TEXT, Finished, Results
from thinwire.report.settings import differing_settings
from thinwire.statistics import ArmComparison, Comparison, Interval
from thinwire.statistics import compare as compare_runs
from thinwire.verdict import (
    ARM_IS_BETTER,
    LORA_HELPS,
    Claim,
    Tiers,
    arm_verdict,
    baseline_check,
    sweep_verdict,
)

Analysis = dict[str, Any]


def analyse(results: Results) -> Analysis:
    """Everything that the reports of a sweep say, as JSON-able data."""
    settings = VerdictConfig(**results.sweep["verdict"])
    comparisons = {metric: _compare(results, metric, settings) for metric in ("f1", "exact_match")}
    tiers = Tiers(marginal=settings.marginal, significant=settings.significant, strong=settings.strong)
    best = choose_best(results)
    groups = _groups(results)
    rows = [_row(results, name, runs, comparisons, tiers, settings) for name, runs in groups.items()]
    for row in rows:
        row["best"] = row["name"] == best
    rows += [_failed_row(record, results) for record in results.unfinished]
    records = [*(runs[0].record for runs in groups.values()), *results.unfinished]
    found_settings = differing_settings(records, results.sweep["model"]["num_layers"])
    for row, found in zip(rows, found_settings, strict=True):
        row["settings"] = found
    found_codecs = codecs(results)
    return {
        "sweep": results.sweep,
        "thresholds": {name: points / 100 for name, points in tiers.thresholds().items()},
        "confidence": settings.confidence,
        "rows": rows,
        "verdict": _verdict(results, comparisons["f1"], best, tiers, settings),
        "bytes": sizes(results, best),
        "codecs": found_codecs,
        "alarms": alarms(found_codecs),
        "notes": [*_notes(results, comparisons["f1"]), *alarms(found_codecs)],
    }


def choose_best(results: Results) -> str:
    """The arm with the highest selection F1, mean over its seeds, the first of equals: the test split never chooses."""
    return max(results.arms, key=lambda name: fmean(run.record["selection"]["f1"] for run in results.arms[name]))


def _groups(results: Results) -> dict[str, list[Finished]]:
    return {**results.arms, **{name: [control] for name, control in results.controls.items()}}


def _runs(finished: Sequence[Finished], metric: str) -> list[Run]:
    return [Run.of_rows(one.predictions, metric) for one in finished]


def _compare(results: Results, metric: str, settings: VerdictConfig) -> Comparison | None:
    """All arms against the baseline at once; None where there is no baseline or nothing to compare with it."""
    baseline = results.arms.get(results.sweep["baseline"])
    arms = {name: _runs(runs, metric) for name, runs in results.arms.items() if name != results.sweep["baseline"]}
    if baseline is None or not arms:
        return None
    return compare_runs(
        _runs(baseline, metric), arms, confidence=settings.confidence, num_resamples=settings.resamples, rng=0
    )


def _row(
    results: Results,
    name: str,
    runs: list[Finished],
    comparisons: dict[str, Comparison | None],
    tiers: Tiers,
    settings: VerdictConfig,
) -> dict[str, Any]:
    record = runs[0].record
    f1 = comparisons["f1"].arms.get(name) if comparisons["f1"] else None
    em = comparisons["exact_match"].arms.get(name) if comparisons["exact_match"] else None
    judged = arm_verdict(f1, tiers, power=settings.power) if f1 else None
    parameters = record["trainable_parameters"]
    text = results.controls.get(TEXT)
    return {
        **_identity(record, results),
        **{key: fmean(run.record["test"][source] for run in runs) for key, source in _TEST_FIGURES.items()},
        **_reconstruction(runs),
        "n": record["test"]["n"],
        "num_seeds": len(runs),
        "selection_f1": fmean(run.record["selection"]["f1"] for run in runs),
        "params": sum(parameters.values()),
        "adapter_params": parameters["adapter"],
        "lora_params": parameters["lora"],
        "table_bytes": table_bytes(results.sweep["model"], record),
        "code_bits": code_bits(results.sweep["model"], record["codec"]) if record["codec"] else None,
        "minutes": sum(run.record["seconds_total"] for run in runs) / 60,
        "f1_difference": _difference(f1) if f1 else None,
        "em_difference": _difference(em) if em else None,
        "observed_tier": judged.observed if judged else None,
        "supported_tier": judged.supported or "unresolved" if judged else None,
        "questions_needed": judged.questions_to_resolve if judged else None,
        "share_of_ceiling": _share(results, name, runs),
        "collapse": _form(diagnose(runs[0].predictions, text.predictions if text else None)),
        "extractors": {name: one.as_dict() for name, one in score_extractors(runs[0].predictions).items()},
    }


_TEST_FIGURES = {"f1": "f1", "em": "exact_match", "raw_f1": "raw_f1", "raw_em": "raw_exact_match"}
"""What a row calls the figures of a record's test."""

_FIGURES = (
    *_TEST_FIGURES,
    "cosine_at_start",
    *("cosine", "rare_cosine", "relative_mse", "nearest_row_accuracy", "n", "num_seeds", "selection_f1"),
    *("params", "adapter_params", "lora_params", "table_bytes", "code_bits", "f1_difference", "em_difference"),
    *("observed_tier", "supported_tier", "questions_needed", "share_of_ceiling", "collapse", "extractors"),
)
"""What a training that is not done lacks."""


def _identity(record: dict[str, Any], results: Results) -> dict[str, Any]:
    lora = record["config"]["lora"]
    layers = results.sweep["model"]["num_layers"] if lora["layers"] == "all" else lora["layers"]
    trains = lora["rank"] > 0
    return {
        "name": record["arm"],
        "kind": record["kind"],
        "status": record["status"],
        "error": record["error"],
        "best": False,
        "is_baseline": record["kind"] == "arm" and record["arm"] == results.sweep["baseline"],
        "reads": record["config"]["reads"],
        "rank": lora["rank"] if trains else None,
        "alpha": lora["alpha"] if trains else None,
        "layers": lora["layers"] if trains else None,
        "num_layers": layers if trains else 0,
    }


def _reconstruction(runs: list[Finished]) -> dict[str, float | None]:
    names = ("cosine", "relative_mse", "nearest_row_accuracy")
    if runs[0].record["reconstruction"] is None:
        return {**dict.fromkeys(names), "cosine_at_start": None, "rare_cosine": None}
    buckets = [bucket for run in runs for bucket in run.record["reconstruction_by_frequency"]]
    rare = [bucket["cosine"] for bucket in buckets if bucket["least"] == 1]
    return {
        **{name: fmean(run.record["reconstruction"][name] for run in runs) for name in names},
        "cosine_at_start": fmean(run.record["reconstruction_at_start"]["cosine"] for run in runs),
        "rare_cosine": fmean(rare) if rare else None,
    }


def _failed_row(record: dict[str, Any], results: Results) -> dict[str, Any]:
    """A training without figures: a failure is never a zero."""
    return {
        **dict.fromkeys(_FIGURES),
        **_identity(record, results),
        "name": record["name"],
        "minutes": record["seconds_total"] / 60,
    }


def _difference(arm: ArmComparison) -> dict[str, Any]:
    low, high = _ends(arm.simultaneous)
    pointwise_low, pointwise_high = _ends(arm.bca)
    return {
        "estimate": arm.difference,
        "low": low,
        "high": high,
        "pointwise_low": pointwise_low,
        "pointwise_high": pointwise_high,
        "p_adjusted": arm.adjusted_p_value,
        "outcome": arm.reason,
    }


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def _form(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "finding": diagnosis.finding,
        "figures": asdict(diagnosis.answers),
        "gold": asdict(diagnosis.gold),
        "text": asdict(diagnosis.text) if diagnosis.text else None,
        "reasons": [
            f"{one.figure.removesuffix('_share').replace('_', ' ')} {one.value:.1%} (limit {one.limit:.1%})"
            for one in diagnosis.evidence
            if one.beyond
        ],
        "examples": [
            {"id": one.id, "question": one.question, "golds": [one.gold], "raw_text": one.raw_text}
            for one in diagnosis.examples
        ],
    }


def _share(results: Results, name: str, runs: list[Finished]) -> dict[str, float | None] | None:
    """Share of the ceiling of the mean of an arm's runs; controls are what it is measured by."""
    if name not in results.arms:
        return None
    codec, ceiling = (results.controls.get(control) for control in (CODEC, CEILING))
    share = paired_ceiling_share(
        [Run.of_rows(run.predictions) for run in runs],
        Run.of_rows(codec.predictions) if codec else None,
        Run.of_rows(ceiling.predictions) if ceiling else None,
    )
    if share.share is None:
        return None
    low, high = _ends(share.interval)
    return {"estimate": share.share, "low": low, "high": high, "num_seeds": len(runs)}


def _verdict(
    results: Results, comparison: Comparison | None, best: str, tiers: Tiers, settings: VerdictConfig
) -> dict[str, Any]:
    f1 = {name: fmean(run.record["test"]["f1"] for run in runs) for name, runs in results.arms.items()}
    shared = {"best": best, "best_f1": f1[best], "baseline_check": _baseline_sentence(results, f1)}
    if comparison is None:
        nothing = "no comparison: the sweep has no baseline arm, or nothing beside it"
        unknown = ("tier", "supported_tier", "helped", "questions_needed", "uncertainty_covers")
        said = dict.fromkeys(("headline", "sentence", "lesson"), nothing)
        steps: dict[str, list[str]] = {"next_steps": [], "next_steps_if_confirmed": []}
        return {**shared, "about_lora": False, **said, **dict.fromkeys(unknown), **steps}
    judged_by = best if best in comparison.arms else _best_beside_baseline(results)
    claim = _claim(results, judged_by)
    verdict = sweep_verdict(comparison, judged_by, tiers, claim=claim, power=settings.power)
    chosen = "" if judged_by == best else " (the selection split chose the baseline itself)"
    return {
        **shared,
        "about_lora": claim is LORA_HELPS,
        "headline": verdict.headline + chosen,
        "sentence": verdict.lesson,
        "judged_by": judged_by,
        "tier": verdict.verdict.observed,
        "supported_tier": verdict.verdict.supported or "unresolved",
        "helped": verdict.helped,
        "lesson": verdict.lesson,
        "questions_needed": verdict.verdict.questions_to_resolve,
        "next_steps": list(verdict.next_steps),
        "next_steps_if_confirmed": list(verdict.next_steps_if_confirmed),
        "uncertainty_covers": comparison.arms[judged_by].covers,
    }


def _best_beside_baseline(results: Results) -> str:
    """Where the baseline itself was chosen, the sweep is judged by the best of the others."""
    others = {name: runs for name, runs in results.arms.items() if name != results.sweep["baseline"]}
    return max(others, key=lambda name: fmean(run.record["selection"]["f1"] for run in others[name]))


def _claim(results: Results, judged_by: str) -> Claim:
    """What the arm's gain says something about: LoRA, where the baseline is the same arm without it."""
    # A repeated arm's seeds are the experiment's, and the first that is done is not the same for every arm.
    repeated = any(run.record["name"] != run.record["arm"] for runs in results.arms.values() for run in runs)
    judged, baseline = (results.arms[name][0].record["config"] for name in (judged_by, results.sweep["baseline"]))
    differing = {name for name in judged if judged[name] != baseline.get(name)} - ({"seed"} if repeated else set())
    added = judged["lora"]["rank"] > 0 and baseline["lora"]["rank"] == 0
    return LORA_HELPS if differing == {"lora"} and added else ARM_IS_BETTER


def _baseline_sentence(results: Results, f1: dict[str, float]) -> str:
    baseline = results.sweep["baseline"]
    if baseline not in f1:
        return "no baseline arm"
    text = results.controls.get(TEXT)
    check = baseline_check(results.sweep["model"]["name"], f1[baseline], text.record["test"]["f1"] if text else None)
    found = f"baseline F1 {100 * check.baseline_f1:.1f}"
    if check.expected_f1 is not None:
        verb = "matches" if check.matches else "does not match"
        return f"{found} {verb} the plan's {100 * check.expected_f1:.0f} (within {100 * check.tolerance:.0f} points)"
    if check.text_f1 is None:
        return f"{found}; the plan's 24 is for Llama-3.1-8B, and there is no text control to compare with"
    return f"{found}, text zero-shot {100 * check.text_f1:.1f}; the plan's 24 is for Llama-3.1-8B"


def _notes(results: Results, comparison: Comparison | None) -> list[str]:
    notes = []
    missing = [name for name in (CEILING, TEXT, CODEC) if name not in results.controls]
    if missing:
        notes.append(f"controls not run: {', '.join(missing)}; figures that need them are left out")
    if comparison is not None and all(len(runs) == 1 for runs in results.arms.values()):
        notes.append("one seed an arm: the intervals cover the questions, not the luck of training")
    return notes
