"""The verdict of a sweep, with what belongs to it: the interaction, arms without a result, the baseline's own check."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from thinwire.config.report_settings import ExpectedBaseline, ReportConfig
from thinwire.config.settings import VerdictConfig
from thinwire.report import interaction_words
from thinwire.report.analysis_record import InteractionSummary, VerdictSummary
from thinwire.report.choice import choose_beside_baseline
from thinwire.report.interactions import adds_lora_alone, is_uncompressed, reads_blocks
from thinwire.results.read import TEXT, Results
from thinwire.stats.bootstrap import Comparison
from thinwire.stats.verdict import ARM_IS_BETTER, LORA_GAINS, RUN_AGAIN, Addition, arm_verdict, sweep_verdict
from thinwire.stats.words import Words
from thinwire.tasks.table import TASKS


def summarize_verdict(
    results: Results,
    comparison: Comparison | None,
    best: str,
    interactions: Sequence[InteractionSummary],
    settings: VerdictConfig,
    report: ReportConfig,
) -> VerdictSummary:
    """Judge the sweep by ``best``, the arm that the selection split chose."""
    baseline_check = _baseline_check(results, report.expected_baseline)
    if comparison is None:
        return _nothing_to_compare(results, best, baseline_check)
    judged_by = best if best in comparison.arms else choose_beside_baseline(results)
    about_lora = adds_lora_alone(results, judged_by, results.sweep.baseline)
    gains = arm_verdict(comparison.arms[judged_by], settings).gains
    found = sweep_verdict(
        comparison,
        judged_by,
        settings,
        claim=LORA_GAINS if about_lora else ARM_IS_BETTER,
        addition=_addition(results, best, judged_by, interactions, about_lora=about_lora, gains=gains),
        next_steps=report.next_steps,
        power=settings.power,
        available=results.sweep.test_questions,
        words=Words(points=TASKS[results.sweep.task].unit),
    )
    return VerdictSummary(
        headline=found.headline,
        sentence=found.lesson,
        best=best,
        judged_by=judged_by,
        tier=found.verdict.observed,
        supported_tier=found.supported or "unresolved",
        helped=found.helped,
        questions_needed=found.verdict.questions_to_resolve,
        questions_obstacle=found.verdict.questions.reason if found.verdict.questions else None,
        baseline_check=baseline_check,
        uncertainty_covers=comparison.arms[judged_by].covers if comparison.arms[judged_by].simultaneous else None,
        about_lora=about_lora,
        next_steps=found.next_steps,
        next_steps_if_confirmed=found.next_steps_if_confirmed,
    )


def _nothing_to_compare(results: Results, best: str, baseline_check: str) -> VerdictSummary:
    """A sweep of the baseline alone says nothing; one whose baseline has no result leaves its question open."""
    no_baseline = results.sweep.baseline not in results.arms
    missing = _missing(results)
    headline, sentence = "Nothing to compare", "The sweep has no arm with a result beside the baseline."
    if no_baseline:
        headline = "Not resolved: the baseline has no result"
        sentence = f"No arm can be compared with {results.sweep.baseline}, which has no result."
    return VerdictSummary(
        headline=f"{headline} ({missing})" if missing else headline,
        sentence=sentence,
        best=best,
        judged_by=None,
        tier=None,
        supported_tier="unresolved" if no_baseline else None,
        helped=None,
        questions_needed=None,
        baseline_check=baseline_check,
        uncertainty_covers=None,
        about_lora=False,
        next_steps=(RUN_AGAIN,) if missing else (),
    )


def _addition(
    results: Results,
    best: str,
    judged_by: str,
    interactions: Sequence[InteractionSummary],
    *,
    about_lora: bool,
    gains: bool,
) -> Addition:
    """What is said beside the gain over the baseline: of the interaction, arms without a result, and a single seed."""
    missing = _missing(results)
    refusal = missing if 2 * sum(map(len, results.arms.values())) < _num_planned(results) else ""
    found = interaction_words.judged_interactions(interactions, judged_by)
    chosen = "" if judged_by == best else "the selection split chose the baseline itself"
    one_seed = "one seed" if all(len(runs) == 1 for runs in results.arms.values()) else ""
    headlines = [interaction_words.headline_of_all(found, judged_by, about_lora=about_lora)]
    sentences = [interaction_words.sentences_of_all(found, (judged_by, results.sweep.baseline))]
    measured = any(one.of_compression for one in found)
    unmeasured = about_lora and not is_uncompressed(results, judged_by) and not measured
    if unmeasured:
        headline, sentence = interaction_words.not_measured(in_blocks=reads_blocks(results, judged_by))
        headlines += [headline] if gains else []
        sentences.append(sentence)
    return Addition(
        headline="; ".join(filter(None, headlines)),
        sentence=" ".join(filter(None, sentences)),
        remark="; ".join(filter(None, ("" if refusal else missing, chosen, one_seed))),
        refusal=refusal,
    )


def _num_planned(results: Results) -> int:
    """Trainings of arms that were planned: each arm with each of its seeds."""
    return sum(kind == "arm" for kind in results.sweep.planned.values())


def _missing(results: Results) -> str:
    """Count the arms that failed or were cancelled; empty where all are done."""
    failed = [record for record in results.unfinished if record.kind == "arm"]
    if not failed:
        return ""
    num_planned = _num_planned(results)
    each_once = len({*results.arms, *(record.arm for record in failed)}) == num_planned
    return (
        f"{len(failed)} of {num_planned} {'arms' if each_once else 'trainings of arms'} "
        f"{'has' if len(failed) == 1 else 'have'} no result"
    )


def _baseline_check(results: Results, expected: ExpectedBaseline | None) -> str:
    """Set the baseline's score against what is expected of it, or against the text control."""
    if results.sweep.baseline not in results.arms:
        return "no baseline arm"
    score = fmean(run.record.done.test.score for run in results.arms[results.sweep.baseline])
    text = results.controls.get(TEXT)
    found = f"baseline {TASKS[results.sweep.task].label} {100 * score:.1f}"
    if expected and expected.applies_to(results.sweep.model.name):
        verb = "matches" if expected.is_met_by(score) else "does not match"
        return f"{found} {verb} the expected {expected.f1:.0f} (within {expected.tolerance:.0f} points)"
    zero_shot = fmean(run.record.done.test.score for run in text) if text else None
    said = [f"{found}, text zero-shot {100 * zero_shot:.1f}" if zero_shot is not None else found]
    if expected:
        nothing = "" if text else ", and there is no text control to compare with"
        said.append(f"the expected {expected.f1:.0f} is for {expected.model}{nothing}")
    return "; ".join(said)
