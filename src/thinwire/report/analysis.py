"""From a sweep's records to all that its reports say: one analysis, many renderings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from statistics import fmean
from typing import Any, Literal, NamedTuple

from thinwire.config.report_settings import ReportConfig
from thinwire.config.settings import VerdictConfig
from thinwire.evaluation.answer_metrics import AnswerMetrics, answer_metrics, gold_metrics
from thinwire.evaluation.degeneration import diagnose
from thinwire.evaluation.extractors import EXTRACTED, mean_extractor_scores
from thinwire.report.analysis_record import AnalysedSweep, Analysis
from thinwire.report.caveats import fewer_questions
from thinwire.report.choice import choose_best, mean_selection_score
from thinwire.report.code_sizes import bits_of_code, codecs, matrix_bytes, sizes
from thinwire.report.interactions import summarize_interactions
from thinwire.report.prompt_savings import prompt_costs
from thinwire.report.rows import (
    AnalysisRow,
    AnswerExample,
    AnswerSummary,
    Degeneration,
    Difference,
    LearnedTexts,
    ShareOfCeiling,
)
from thinwire.report.setting_differences import Settings, check_settings, differing_settings
from thinwire.report.verdict import summarize_verdict
from thinwire.results.arm_record import ArmRecord
from thinwire.results.layout import HEADER_FILE, RECORD_FILE, arm_folder
from thinwire.results.read import CEILING, CODEC, TEXT, Finished, Results
from thinwire.results.sweep_header import SweepHeader
from thinwire.schema import build
from thinwire.stats.bootstrap import ArmComparison, Comparison, compare_to_baseline
from thinwire.stats.ceiling import paired_ceiling_shares
from thinwire.stats.inference import Interval
from thinwire.stats.pairing import Run
from thinwire.stats.verdict import ArmVerdict, arm_verdict
from thinwire.tasks.table import TASKS


def analyse(results: Results) -> Analysis:
    """Compute everything that the reports of a sweep say."""
    header = results.folder / HEADER_FILE
    settings = build(VerdictConfig, results.sweep.verdict, where=f"{header}: verdict")
    report = build(ReportConfig, results.sweep.report, where=f"{header}: report")
    for record in [*(run.record for runs in results.groups.values() for run in runs), *results.unfinished]:
        check_settings(record, arm_folder(results.folder, record.name, record.kind) / RECORD_FILE)
    task = TASKS[results.sweep.task]
    score = _compare(results, "score", settings)
    em = _compare(results, "exact_match", settings) if task.shows_exact_match else None
    best, groups = choose_best(results), results.groups
    interactions = summarize_interactions(results, settings, score)
    records = [*(runs[0].record for runs in groups.values()), *results.unfinished]
    differing = differing_settings(records, results.sweep.model.num_layers, results.searched)
    references = _references(results, best) if task.has_texts else None
    shares = _shares(results)
    rows = [
        _row(results, name, found, (score, em), settings, references, shares.get(name), is_best=name == best)
        for name, found in zip(groups, differing, strict=False)
    ]
    rows += [_failed_row(results, *one) for one in zip(results.unfinished, differing[len(groups) :], strict=True)]
    found = Analysis(
        command=None,
        sweep=_sweep(results.sweep, report),
        thresholds={name: points / 100 for name, points in settings.thresholds().items()},
        confidence=settings.confidence,
        resamples=settings.resamples,
        verdict=summarize_verdict(results, score, best, interactions, settings, report),
        interactions=interactions,
        rows=tuple(rows),
        bytes=sizes(results, best),
        codecs=codecs(results),
        notes=tuple(_notes(results)),
    )
    costs = prompt_costs(results)
    with_costs = (
        row.model_copy(update={"prompt_costs": costs[row.name]}) if row.name in costs else row for row in found.rows
    )
    return found.model_copy(update={"rows": tuple(with_costs), "notes": (*found.notes, *found.warnings)})


def _sweep(header: SweepHeader, report: ReportConfig) -> AnalysedSweep:
    shared = {name: getattr(header, name) for name in AnalysedSweep.model_fields if hasattr(header, name)}
    seconds = _seconds(header.started_at, header.finished_at)
    return AnalysedSweep(**shared, seconds=seconds, heading=report.heading, motivation=report.motivation)


def _seconds(started_at: str, finished_at: str | None) -> float | None:
    if finished_at is None:  # interrupted after its last training
        return None
    started, finished = (datetime.fromisoformat(time.replace("Z", "+00:00")) for time in (started_at, finished_at))
    return (finished - started).total_seconds()


def _runs(finished: Sequence[Finished], metric: Literal["score", "exact_match"] = "score") -> list[Run]:
    return [one.score if metric == "score" else one.exact_match for one in finished]


def _compare(results: Results, metric: Literal["score", "exact_match"], settings: VerdictConfig) -> Comparison | None:
    """All arms against the baseline at once; None where there is no baseline or nothing to compare with it."""
    baseline = results.arms.get(results.sweep.baseline)
    arms = {name: _runs(runs, metric) for name, runs in results.arms.items() if name != results.sweep.baseline}
    if baseline is None or not arms:
        return None
    return compare_to_baseline(
        _runs(baseline, metric), arms, confidence=settings.confidence, num_resamples=settings.resamples, rng=0
    )


# Rows


def _row(
    results: Results,
    name: str,
    differing: Settings,
    comparisons: tuple[Comparison | None, Comparison | None],
    settings: VerdictConfig,
    references: _References | None,
    share: ShareOfCeiling | None,
    *,
    is_best: bool,
) -> AnalysisRow:
    runs, extracts = results.groups[name], TASKS[results.sweep.task].metric in EXTRACTED
    record, all_done = runs[0].record, [run.record.done for run in runs]
    done = all_done[0]
    score, em = (found.arms.get(name) if found else None for found in comparisons)
    judged = _judged(score, settings, results.sweep.test_questions) if score else None
    return AnalysisRow(
        **_identity(record, results),
        name=name,
        best=is_best,
        settings=differing,
        n=done.test.n,
        num_seeds=len(runs),
        params=done.trainable_parameters.total,
        adapter_params=done.trainable_parameters.adapter,
        lora_params=done.trainable_parameters.lora,
        matrix_bytes=matrix_bytes(results.sweep.model, record),
        code_bits=bits_of_code(results.sweep.model, done.codec) if done.codec else None,
        minutes=sum(run.record.seconds_total for run in runs) / 60,
        score=fmean(one.test.score for one in all_done),
        em=fmean(one.test.exact_match for one in all_done),
        raw_score=fmean(one.test.raw_score for one in all_done),
        raw_em=fmean(one.test.raw_exact_match for one in all_done),
        selection_score=mean_selection_score(runs),
        score_difference=_difference(score) if score else None,
        em_difference=_difference(em) if em else None,
        observed_tier=judged.observed if judged else None,
        supported_tier=judged.supported or "unresolved" if judged else None,
        questions_needed=judged.questions_to_resolve if judged else None,
        questions_obstacle=judged.questions.reason if judged and judged.questions else None,
        share_of_ceiling=share,
        **_reconstruction(runs),
        learned_texts=_learned_texts(runs[0].record),
        degeneration=_degeneration(runs[0], references) if references else None,
        extractors=mean_extractor_scores([run.predictions for run in runs]) if extracts else {},
    )


def _judged(arm: ArmComparison, settings: VerdictConfig, available: int | None) -> ArmVerdict:
    return arm_verdict(arm, settings, power=settings.power, available=available)


def _failed_row(results: Results, record: ArmRecord, differing: Settings) -> AnalysisRow:
    """A training without results: a failure is never a zero."""
    minutes = record.seconds_total / 60
    return AnalysisRow(**_identity(record, results), name=record.name, settings=differing, minutes=minutes)


def _identity(record: ArmRecord, results: Results) -> dict[str, Any]:
    lora = record.config["lora"]
    layers = results.sweep.model.num_layers if lora["layers"] == "all" else lora["layers"]
    trains = lora["rank"] > 0
    return {
        "kind": record.kind,
        "status": record.status,
        "error": record.error,
        "is_baseline": record.kind == "arm" and record.arm == results.sweep.baseline,
        "input": record.config["input"],
        "rank": lora["rank"] if trains else None,
        "alpha": lora["alpha"] if trains else None,
        "layers": lora["layers"] if trains else None,
        "num_layers": layers if trains else 0,
        "position": lora.get("position", "first"),  # which older records do not name
    }


def _reconstruction(runs: list[Finished]) -> dict[str, float | None]:
    found = [one for run in runs if (one := run.record.done.reconstruction)]
    at_start = [one for run in runs if (one := run.record.done.reconstruction_at_start)]
    rare = [bucket.cosine for one in found for bucket in one.by_frequency if bucket.least == 1]
    written = [wrote.accuracy for run in runs if (wrote := run.record.done.text_reconstruction)]
    names = ("cosine", "relative_mse", "nearest_row_accuracy")
    return {
        **{name: fmean(getattr(one.overall, name) for one in found) if found else None for name in names},
        "cosine_at_start": fmean(one.overall.cosine for one in at_start) if at_start else None,
        "rare_cosine": fmean(rare) if rare else None,
        "written": fmean(written) if written else None,
    }


def _learned_texts(record: ArmRecord) -> LearnedTexts | None:
    wrote = record.done.text_reconstruction
    if wrote is None:
        return None
    passages = record.config["blocks"].get("reconstruction", {}).get("passages")
    return LearnedTexts(
        passages=passages if isinstance(passages, int) else None,
        held_out_texts=wrote.passages,
        held_out_tokens=wrote.tokens,
    )


def _difference(arm: ArmComparison) -> Difference:
    low, high = _ends(arm.simultaneous)
    pointwise_low, pointwise_high = _ends(arm.bca)
    return Difference(
        estimate=arm.difference,
        low=low,
        high=high,
        pointwise_low=pointwise_low,
        pointwise_high=pointwise_high,
        p_adjusted=arm.adjusted_p_value,
        reason=arm.reason,
    )


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


class _References(NamedTuple):
    """What the form of answers is compared with."""

    gold: AnswerMetrics
    text: AnswerMetrics | None
    """Of the model that reads text, untrained; None where that control was not run."""


def _references(results: Results, best: str) -> _References:
    gold = gold_metrics(results.arms[best][0].predictions)  # of all arms, as their test questions are the same
    text = answer_metrics(results.controls[TEXT][0].predictions) if TEXT in results.controls else None
    return _References(gold, text)


def _degeneration(run: Finished, references: _References) -> Degeneration:
    diagnosis, text = diagnose(run.predictions, gold=references.gold), references.text
    return Degeneration(
        finding=diagnosis.finding,
        seed=run.record.config["seed"],
        metrics=AnswerSummary(**asdict(diagnosis.answers)),
        gold=AnswerSummary(**asdict(diagnosis.gold)),
        text=AnswerSummary(**asdict(text)) if text else None,
        reasons=tuple(
            f"{one.metric.removesuffix('_share').replace('_', ' ')} {one.value:.1%} (limit {one.limit:.1%})"
            for one in diagnosis.evidence
            if one.beyond and one.sign_of == diagnosis.finding
        ),
        examples=tuple(
            AnswerExample(id=one.id, question=one.question, golds=(one.gold,), raw_text=one.raw_text)
            for one in diagnosis.examples
        ),
    )


def _shares(results: Results) -> dict[str, ShareOfCeiling]:
    """Shares of the ceiling of the mean of each arm's runs; controls are what they are measured by."""
    codec, ceiling = (_runs(results.controls.get(control, ())) for control in (CODEC, CEILING))
    if not (codec and ceiling):
        return {}
    shares = paired_ceiling_shares([_runs(runs) for runs in results.arms.values()], codec, ceiling)
    found = {}
    for (name, runs), share in zip(results.arms.items(), shares, strict=True):
        if share.share is not None:
            low, high = _ends(share.interval)
            found[name] = ShareOfCeiling(
                estimate=share.share, low=low, high=high, num_seeds=len(runs), reason=share.reason
            )
    return found


def _notes(results: Results) -> list[str]:
    inputs = {runs[0].record.config["input"] for runs in results.groups.values()}
    references = (CEILING, TEXT, CODEC) if inputs & {"adapter", "codec"} else (CEILING, TEXT)
    missing = [name for name in references if name not in results.controls]
    notes = [f"controls not run: {', '.join(missing)}; what needs them is left out"] if missing else []
    for name, one in results.sweep.interactions.items():
        undone = [member for member in dict.fromkeys((*one.gain, *one.reference_gain)) if member not in results.groups]
        if undone:
            notes.append(
                f"interaction {name} is left out, because it needs arms or controls without results: "
                f"{', '.join(undone)}"
            )
    if results.searched:
        notes.append(f"each arm has its own best values, by the selection split, of {', '.join(results.searched)}")
    edges = {name: one.edges for name, one in results.search.arms.items() if one.edges}
    if edges:
        named = "; ".join(f"{name}: {', '.join(paths)}" for name, paths in edges.items())
        notes.append(f"the best value found is the smallest or largest tried, so a better one may lie beyond ({named})")
    return [*notes, *_fewer_questions(results)]


def _fewer_questions(results: Results) -> list[str]:
    """Say which splits have fewer questions than were asked for, by the header's and the records' figures."""
    found = []
    sweep = results.sweep
    if sweep.training_questions is not None:
        found.append(fewer_questions("training", "data.samples", sweep.samples, sweep.training_questions))
    for record in (run.record for runs in results.groups.values() for run in runs):
        asked, done = record.config["evaluation"], record.done
        found += [
            fewer_questions("selection", "evaluation.selection_samples", asked["selection_samples"], done.selection.n),
            fewer_questions("test", "evaluation.samples", asked["samples"], done.test.n),
        ]
    return [line for line in dict.fromkeys(found) if line]
