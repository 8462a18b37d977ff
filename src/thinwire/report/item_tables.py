"""Write a comparison of items as a table, as verdicts in words, and as data for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from thinwire.errors import printable
from thinwire.items.comparison import ItemComparison
from thinwire.report.compare import aligned
from thinwire.stats.words import count


def item_rows(found: ItemComparison) -> list[dict[str, Any]]:
    """Return a row for each result, the baseline first.

    ``mean`` is in the scores' own scale, differences and their ends are fractions of it. What a row does not have is
    None: the baseline has no difference, and a comparison of too few items no interval.
    """
    first, *_ = found.comparison.arms.values()
    blank = dict.fromkeys(("difference", "low", "high", "p", "p_adjusted", "observed_tier", "tier"))
    rows: list[dict[str, Any]] = [
        {
            "name": found.baseline,
            "metric": found.metrics[found.baseline],
            "runs": first.num_baseline_runs,
            "mean": found.scale.score(first.baseline_mean),
            **blank,
        }
    ]
    for name, arm in found.comparison.arms.items():
        verdict, ends = found.judged[name].verdict, arm.simultaneous
        rows.append(
            {
                "name": name,
                "metric": found.metrics[name],
                "runs": arm.num_runs,
                "mean": found.scale.score(arm.mean),
                "difference": arm.difference,
                "low": ends.low if ends else None,
                "high": ends.high if ends else None,
                "p": arm.p_value,
                "p_adjusted": arm.adjusted_p_value,
                "observed_tier": verdict.observed,
                "tier": verdict.supported or "unresolved",
            }
        )
    return rows


_HEADS = ("result", "mean", "vs base", "interval", "p", "tier")
_WIDTH = 110
NUM_LEFT = 1
"""Columns of ``item_cells`` that are aligned to the left."""


def item_cells(found: ItemComparison) -> list[list[str]]:
    """Return the header and a line for each result, differences in points."""
    lines = [list(_HEADS)]
    for row in item_rows(found):
        ends = "-" if row["low"] is None else f"{_points(row['low'])} to {_points(row['high'])}"
        lines.append(
            [
                printable(row["name"]),
                _mean(row["mean"]),
                "-" if row["difference"] is None else _points(row["difference"]),
                ends,
                "-" if row["p_adjusted"] is None else f"{row['p_adjusted']:.4f}",
                row["tier"] or "-",
            ]
        )
    return lines


def item_table(found: ItemComparison) -> str:
    """Write the results as a table with what its columns mean below it."""
    bounds = [f"{name}: {arm.reason}" for name, arm in found.comparison.arms.items() if arm.reason]
    return f"{aligned(item_cells(found), left=NUM_LEFT)}\n\n{item_legend(found, bounds)}"


def item_legend(found: ItemComparison, remarks: Sequence[str] = ()) -> str:
    """Say what was compared and how, in a few lines; ``remarks`` are further ones."""
    several = len(found.comparison.arms) > 1
    scale = found.scale
    asked = count(found.num_items, "item")
    if found.num_clusters is not None:
        asked += f" in {count(found.num_clusters, 'cluster')}"
    metrics = " and ".join(dict.fromkeys(found.metrics.values()))
    thresholds = ", ".join(f"{tier} from {least:g}" for tier, least in found.settings.thresholds().items())
    lines = [
        f"{asked}, paired; metric {metrics}{' (lower is better: a gain is a fall)' if scale.lower_is_better else ''}; "
        f"baseline {found.baseline}",
        f"differences, intervals and tiers are in points: hundredths of the score's range, {scale.low:g} to "
        f"{scale.high:g}",
        f"tiers: {thresholds}",
        f"intervals hold at {100 * found.comparison.confidence:.6g}%"
        f"{' for all results together (p: adjusted by Holm)' if several else ''} and cover the choice of "
        f"{found.covers}",
        *(f"note: {note}" for note in [*remarks, *found.notes]),
    ]
    return "\n".join(map(printable, lines))


def item_verdicts(found: ItemComparison) -> str:
    """Write the verdict on each result: its headline, what the data show, and what would resolve what they do not."""
    base = item_rows(found)[0]
    parts = [f"{printable(found.baseline)} (baseline): mean {_mean(base['mean'])}"]
    for row in item_rows(found)[1:]:
        judged = found.judged[row["name"]]
        lines = [f"mean {_mean(row['mean'])}", judged.lesson]
        lines += [f"{judged.how_to_resolve}."] if judged.how_to_resolve else []
        parts.append("\n".join([printable(f"{row['name']}: {judged.headline}"), *map(_wrapped, lines)]))
    return "\n\n".join([*parts, item_legend(found)])


def item_record(found: ItemComparison) -> dict[str, Any]:
    """Return a comparison as data for programs: differences are fractions of the score's range."""
    verdicts = {}
    for name, judged in found.judged.items():
        arm, needed = found.comparison.arms[name], judged.verdict.questions
        verdicts[name] = {
            "headline": judged.headline,
            "verdict": judged.lesson,
            "helps": judged.verdict.helps,
            "how_to_resolve": judged.how_to_resolve,
            "items_needed": needed.number if needed else None,
            "outcome": arm.outcome,
            "reason": arm.reason,
            "covers": arm.covers,
        }
    rows = item_rows(found)
    return {
        "baseline": rows[0],
        "treatments": [{**row, **verdicts[row["name"]]} for row in rows[1:]],
        "items": found.num_items,
        "clusters": found.num_clusters,
        "confidence": found.comparison.confidence,
        "resamples": found.comparison.num_resamples,
        "scale": {
            "low": found.scale.low,
            "high": found.scale.high,
            "lower_is_better": found.scale.lower_is_better,
        },
        "tiers": found.settings.thresholds(),
        "notes": list(found.notes),
    }


def _wrapped(line: str) -> str:
    return textwrap.fill(
        printable(line),
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _points(fraction: float) -> str:
    return f"{round(100 * fraction, 1) + 0.0:+.1f}"


def _mean(mean: float) -> str:
    return f"{mean:.4f}" if abs(mean) < 10 else f"{mean:.2f}"
