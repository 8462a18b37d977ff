"""``sweep_summary.txt``: a sweep's results as plain text, at most 100 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from thinwire.errors import ThinwireError
from thinwire.report import interaction_table, savings_table
from thinwire.report.analysis_record import Analysis, InteractionSummary
from thinwire.report.caveats import BELOW_TIERS, described, first_seed, model_name, notes, overlap
from thinwire.report.compare import (
    ComparedRow,
    ComparedScores,
    ResultsError,
    aligned,
    format_table,
    inert,
    load_rows,
    scores_of,
    sort_rows,
)
from thinwire.report.score_words import is_squad, names
from thinwire.results.arm_record import Environment
from thinwire.results.sweep_header import SweepHeader, read_header
from thinwire.stats.words import count
from thinwire.tasks.table import TASKS
from thinwire.tasks.task import Task

_WIDTH = 100


def summary_text(run: Path, analysis: Analysis | None = None) -> str:
    """Write the summary of a sweep's folder; with its analysis, also the verdict and the next steps.

    Raises:
        ThinwireError: a record is damaged.
    """
    try:
        rows = load_rows(run)
    except ResultsError as error:
        raise ThinwireError(str(error)) from None
    seed = first_seed(analysis) if analysis else ""
    sweep = read_header(run)
    task = TASKS[sweep.task]
    scores = scores_of(run)
    parts = [_header(sweep, rows), _tables(rows, scores), _wrap(_legend(task, scores, seed))]
    if analysis:
        parts += _interactions(analysis.interactions, task)
        parts += _savings(analysis)
        parts += _findings(analysis, seed)
        parts += _verdict(analysis)
        parts += [_wrap(f"Warning: {warning}.") for warning in analysis.warnings]
    parts += [_wrap(f"{row['name']} {row['status']}: {row['error']}") for row in rows if row["status"] != "done"]
    return inert("\n\n".join(parts) + "\n")


def _header(sweep: SweepHeader, rows: list[ComparedRow]) -> str:
    environment = sweep.environment
    num_test = " or ".join(f"{n:,}" for n in sorted({row["n"] for row in rows if row["n"]})) or "no"
    shared = overlap(sweep.shared_paragraphs)
    trained = count(sweep.training_questions or sweep.samples, "training question")
    lines = [
        described(sweep.name, " ".join(sweep.description.split())),
        *([_wrap(f"Warning: {shared}.")] if shared else []),
        "",
        f"model    {model_name(sweep.model)}, revision {sweep.model.revision[:12]}",
        f"data     {trained} x {count(sweep.epochs, 'epoch')}; {num_test} test questions",
        f"made by  thinwire {environment.thinwire}, commit {commit(environment)}",
        f"on       {environment.device}, {sweep.started_at}",
    ]
    return "\n".join(lines)


def commit(environment: Environment) -> str:
    """The commit that made a record, in short, and whether its code had been changed since."""
    return (environment.git_commit or "unknown")[:12] + (" with changes" if environment.git_dirty else "")


def _legend(task: Task, scores: ComparedScores, seed: str) -> str:
    metric = ", official SQuAD metric on the first line of the answer" if is_squad(task) else ""
    unique = f"unique: share of different answers{seed}. " if task.has_texts else ""
    return (
        f"{names(task, ', ')}: test questions{metric}, in points. vs base: difference in {task.label} to the baseline "
        "arm. interval: simultaneous over all arms. p: adjusted (Holm). tier: what the interval's lower end supports; "
        f"{BELOW_TIERS}. {scores.of_selection}: on held-out training articles; chooses epoch and arm (*). trained: "
        f"parameters. {unique}min: minutes in all."
    )


def _tables(rows: list[ComparedRow], scores: ComparedScores) -> str:
    arms, controls = ([row for row in rows if row["kind"] == kind] for kind in ("arm", "control"))
    drawn = partial(format_table, without=("positions",))  # they have a table of their own
    tables = [drawn(sort_rows(arms, "score"), scores) if arms else "No arm was run."]
    if controls:
        tables.append("Controls\n" + drawn(sort_rows(controls, "score"), scores))
    return "\n\n".join(tables)


def _interactions(found: Sequence[InteractionSummary], task: Task) -> list[str]:
    if not found:
        return []
    rows = [[one.name, *interaction_table.numbers(one)] for one in found]
    drawn = aligned([["interaction", *interaction_table.HEADS], *rows], left=1)
    members = [_wrap(f"{one.name}: {interaction_table.members(one)}", "    ") for one in found]
    return ["\n".join(["Interactions", drawn, *members, _wrap(interaction_table.legend(task))])]


def _savings(analysis: Analysis) -> list[str]:
    """What fewer positions save; nothing in a sweep where no prompt takes fewer."""
    found = savings_table.cells(analysis)
    if not found:
        return []
    return [
        "\n".join(["What fewer positions save", aligned(found, left=1), _wrap(savings_table.legend(analysis.task))])
    ]


def _findings(analysis: Analysis, seed: str) -> list[str]:
    """Why answers that are not healthy are not, a line for each arm or control."""
    found = [(row.name, row.degeneration) for row in analysis.rows if row.degeneration]
    lines = [
        _wrap(f"{name}: {one.finding}, {', '.join(one.reasons)}", "    ")
        for name, one in found
        if one.finding != "healthy"
    ]
    return ["\n".join([f"Answers{seed} that are not healthy:", *lines])] if lines else []


def _verdict(analysis: Analysis) -> list[str]:
    verdict = analysis.verdict
    lines = [f"Verdict: {verdict.headline}", verdict.sentence, f"Baseline check: {verdict.baseline_check}."]
    if verdict.uncertainty_covers:
        lines.append(f"The intervals cover the uncertainty of: {verdict.uncertainty_covers}.")
    lines += [f"Note: {note}." for note in notes(analysis) if note not in analysis.warnings]
    parts = ["\n".join(_wrap(line) for line in lines)]
    for title, steps in (
        ("Next steps", verdict.next_steps),
        ("If that confirms the estimate", verdict.next_steps_if_confirmed),
    ):
        if steps:
            numbered = [_wrap(f"{number}. {step}", "   ") for number, step in enumerate(steps, start=1)]
            parts.append("\n".join([f"{title}:", *numbered]))
    return parts


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent=indent)
