"""``report.md``: a sweep as a section of a report that people write by hand."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.report.analysis_record import Analysis
from thinwire.report.caveats import CEILING_SCALE, first_seed, model_name, notes, overlap
from thinwire.report.markdown.details import findings, interactions, savings
from thinwire.report.markdown.tables import (
    CONFIGURATION,
    GAIN,
    P_VALUE,
    TIER,
    TRAINED,
    MarkdownColumn,
    finding_columns,
    inert_markdown,
    interval,
    one_line,
    points,
    score_columns,
    table,
)
from thinwire.report.rows import AnalysisRow
from thinwire.stats.words import count
from thinwire.tasks.task import Task

_ALPHA, _DELTA = "\u03b1", "\u0394"


def section(analysis: Analysis) -> str:
    """Write the section as Markdown, under the experiment's own heading if it has one."""
    sweep, verdict = analysis.sweep, analysis.verdict
    controls = [row for row in analysis.rows if row.kind == "control"]
    shared, columns = overlap(sweep.shared_paragraphs), _columns(analysis.task)
    parts = [
        f"### {one_line(sweep.heading or sweep.name)}",
        f"**{shared}.**" if shared else "",
        f"**Motivation**: {sweep.motivation}" if sweep.motivation else "",
        _design(analysis),
        "**Results**:\n" + "\n".join(_results(analysis)),
        table([row for row in analysis.rows if row.kind == "arm"], columns),
        f"Controls:\n\n{table(controls, columns)}" if controls else "",
        interactions(analysis),
        savings(analysis),
        findings(analysis),
        f"**Lesson Learned**: {verdict.headline}. {verdict.sentence}",
        _steps("**Next steps**:", verdict.next_steps),
        _steps("If that confirms the estimate:", verdict.next_steps_if_confirmed),
        "\n".join(f"Note: {note}." for note in notes(analysis)),
        f"Source: `{sweep.name}`, finished {sweep.finished_at}, thinwire {sweep.environment.thinwire}, "
        f"commit {sweep.environment.git_commit or 'unknown'}.",
    ]
    return inert_markdown("\n\n".join(part for part in parts if part) + "\n")


def _columns(task: Task) -> tuple[MarkdownColumn, ...]:
    return (CONFIGURATION, TRAINED, *score_columns(task), GAIN, P_VALUE, TIER, *finding_columns(task))


def _design(analysis: Analysis) -> str:
    sweep = analysis.sweep
    num_test = next(row.n for row in analysis.rows if row.n)
    described = f"{one_line(sweep.description).removesuffix('.')}. " if sweep.description else ""
    trained = count(sweep.training_questions or sweep.samples, "training question")
    return (
        f"**Design**: {described}Model {model_name(sweep.model)}; {trained} x {count(sweep.epochs, 'epoch')}; "
        f"{num_test:,} test questions; epoch and arm chosen on held-out training articles."
    )


def _results(analysis: Analysis) -> list[str]:
    verdict, label = analysis.verdict, analysis.task.label
    rows = {row.name: row for row in analysis.rows if row.kind == "arm" and row.score is not None}
    lines = []
    baseline = next((row for row in rows.values() if row.is_baseline), None)
    if baseline:
        name = "no LoRA" if verdict.about_lora else baseline.name
        lines.append(f"- Baseline ({name}): {points(baseline.score)}% {label} ({verdict.baseline_check})")
    best = rows[verdict.judged_by or verdict.best]
    difference = best.score_difference
    gain = f" ({_DELTA}={points(difference.estimate, '+')}%, {interval(difference)})" if difference else ""
    said = f"LoRA ({_configuration(best)})" if verdict.about_lora else f"arm ({best.name})"
    lines.append(f"- Best {said}: {points(best.score)}% {label}{gain}")
    if share := best.share_of_ceiling:
        ends = share.reason or "no interval" if share.low is None else f"{share.low:.0%} to {share.high:.0%}"
        lines.append(f"- Share of the ceiling ({CEILING_SCALE}): {share.estimate:.0%} ({ends})")
    if found := best.degeneration:
        why = f": {', '.join(found.reasons)}" if found.reasons else ""
        lines.append(f"- Answers{first_seed(analysis)}: {found.finding}{why}")
    return lines


def _configuration(row: AnalysisRow) -> str:
    if not row.rank:
        return row.name
    return f"r={row.rank}, {_ALPHA}={row.alpha:g}, layers={row.layers}"


def _steps(title: str, steps: Sequence[str]) -> str:
    return "\n".join([title, "", *(f"{number}. {step}" for number, step in enumerate(steps, start=1))]) if steps else ""
