"""The scores of a model card: the arm's own, and what its sweep says of it."""

from __future__ import annotations

import logging

from thinwire.checkpoints.load import FinishedArm
from thinwire.errors import UsageError
from thinwire.report import formatting
from thinwire.report.analysis import analyse
from thinwire.report.analysis_record import Analysis
from thinwire.report.caveats import notes
from thinwire.report.score_words import is_squad
from thinwire.results.read import Finished, read_results
from thinwire.results.rows import read_predictions
from thinwire.stats.inference import Interval
from thinwire.stats.mean_score import mean_interval

logger = logging.getLogger(__name__)


def scores(arm: FinishedArm) -> list[str]:
    """Return the paragraphs of the section on scores; those of the sweep are left out if it has not ended.

    Raises:
        ThinwireError: a record of the sweep is damaged.
    """
    test, task = arm.record.done.test, arm.record.task
    own = Finished(record=arm.record, predictions=read_predictions(arm.folder, arm.record), folder=arm.folder)
    table = [
        f"| {test.n:,} test questions | points | 95% interval |",
        "| --- | ---: | --- |",
        f"| {task.label} | {formatting.points(test.score)} | {_interval(mean_interval(own.score))} |",
    ]
    if task.shows_exact_match:
        reach = _interval(mean_interval(own.exact_match))
        table.append(f"| exact match | {formatting.points(test.exact_match)} | {reach} |")
    metric = "The official SQuAD metric on the first line of the answer. " if is_squad(task) else ""
    found = [
        "\n".join(table),
        f"{metric}The intervals are of this training: they cover which paragraphs were asked about, not the luck of "
        "training.",
    ]
    try:
        analysis = analyse(read_results(arm.run))
    except UsageError as error:
        logger.info("the model card leaves out the sweep's verdict: %s", error)
        return found
    return [*found, *_of_sweep(arm, analysis)]


def _interval(found: Interval | None) -> str:
    if found is None:
        return "too few paragraphs"
    return f"{formatting.points(found.low)} to {formatting.points(found.high)}"


def _of_sweep(arm: FinishedArm, analysis: Analysis) -> list[str]:
    paragraphs = []
    row = next((row for row in analysis.rows if row.name == arm.record.arm and row.kind == arm.record.kind), None)
    if row is not None and row.score_difference is not None:
        change = row.score_difference
        seeds = f"mean of {row.num_seeds} seeds" if row.num_seeds and row.num_seeds > 1 else "one seed"
        reach = "no interval"
        if change.low is not None and change.high is not None:
            reach = f"{formatting.signed(change.low)} to {formatting.signed(change.high)}"
        paragraphs.append(
            f"Compared with the arm `{analysis.sweep.baseline}` of the sweep, `{row.name}` gains "
            f"{formatting.signed(change.estimate)} {analysis.task.unit} ({reach}, {analysis.confidence:.0%} over all "
            f"arms; {seeds})."
        )
    paragraphs.append(f"The sweep's verdict, which is about `{analysis.verdict.judged_by or analysis.verdict.best}`:")
    paragraphs.append(f"> {analysis.verdict.headline}. {analysis.verdict.sentence}")
    if said := notes(analysis):
        paragraphs.append("\n".join(f"- {one}." for one in said))
    return paragraphs
