"""Interactions as a table: the same numbers in the summary and in Markdown."""

from __future__ import annotations

from thinwire.report.analysis_record import InteractionSummary
from thinwire.report.interaction_words import measured
from thinwire.tasks.task import Task

HEADS = ("gain", "reference gain", "difference", "adjusted p")


def legend(task: Task) -> str:
    """Explain the columns."""
    return (
        "Gain and reference gain: each of an arm over its own baseline; difference: gain less reference gain. In "
        f"{task.unit}; the intervals of the differences hold for all interactions at once, and p is adjusted over "
        "them (Holm)."
    )


def members(found: InteractionSummary) -> str:
    """Name the two gains that are compared; where their difference has no ordinary interval, say why."""
    reason = f" ({found.reason})" if found.reason else ""
    return f"{found.arm} over {found.baseline}, less {found.reference_arm} over {found.reference_baseline}{reason}"


def numbers(found: InteractionSummary) -> list[str]:
    """Write an interaction's numbers as the cells under ``HEADS``."""
    return [
        measured(found.gain),
        measured(found.reference_gain),
        measured(found.difference),
        "" if found.p_adjusted is None else f"{found.p_adjusted:.4f}",
    ]
