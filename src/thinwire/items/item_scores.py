"""Scores of items as a file holds them, and the checked runs that statistics compare."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from thinwire.errors import UsageError, shown
from thinwire.inputs import json_kind, text_fault

MOST_ITEMS = 1_000_000
"""Scores in one file."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which scores of a file are meant."""

    metric: str | None = None
    """Name of the score, where a file has several."""
    task: str | None = None
    """Name of the task, or a pattern such as ``mmlu_*``, where a folder has several."""
    cluster: str | None = None
    """Column, or field of a document or sample, that tells which items belong together."""


class ScoredItem(NamedTuple):
    """One score, as it was found."""

    id: str
    score: float
    """Finite, in the file's own scale."""
    place: str
    """Where it was found in its source: ``line 3``."""
    cluster: str | None = None
    """None where the source does not say what belongs together."""
    run: str = ""
    """Name of the run (seed); empty where the source has one run."""
    content: str | None = None
    """What was asked, or its hash; None where the source does not say."""


@dataclass(frozen=True, kw_only=True)
class FileScores:
    """The scores of one file."""

    items: tuple[ScoredItem, ...]
    tool: str
    """The name of its format; ``ScoredItem.content`` is compared within one format only."""
    metric: str
    notes: tuple[str, ...] = ()
    """What a reader should know of how the scores were made."""


def collected(items: Iterable[ScoredItem], source: str, run_word: str = "seed") -> tuple[ScoredItem, ...]:
    """Return the items of a file, checked: each once in each run, the same items in all of its runs.

    Args:
        items: as they were found.
        source: the file's name, for messages.
        run_word: what tells runs apart in this file.

    Raises:
        UsageError: there are none or too many, an id comes twice in a run, some runs lack items of others, or an item
            has a cluster in one run and another in the next.
    """
    seen: dict[tuple[str, str], ScoredItem] = {}
    cluster_of: dict[str, str | None] = {}
    for item in items:
        if (before := seen.setdefault((item.run, item.id), item)) is not item:
            again = f" of {run_word} {shown(item.run)}" if item.run else ""
            raise UsageError(
                f"{source}: item {shown(item.id)}{again} comes twice ({before.place} and {item.place}); "
                f"keep one score an item{'' if item.run else ', or tell runs apart by a column seed'}"
            )
        if cluster_of.setdefault(item.id, item.cluster) != item.cluster:
            raise UsageError(
                f"{source}: item {shown(item.id)} is in cluster {shown(cluster_of[item.id])} and in "
                f"{shown(item.cluster)} ({item.place}); an item has one cluster"
            )
        if len(seen) > MOST_ITEMS:
            raise UsageError(f"{source} has more than {MOST_ITEMS:,} scores; give a smaller file")
    if not seen:
        raise UsageError(f"{source} holds no item; expected a score for each")
    runs: dict[str, set[str]] = {}
    for run, id_ in seen:
        runs.setdefault(run, set()).add(id_)
    for run, ids in runs.items():
        if lacking := sorted(cluster_of.keys() - ids):
            raise UsageError(
                f"{source}: {len(lacking)} of {len(cluster_of)} items have no score of {run_word} {shown(run)} "
                f"(first: {shown(lacking[0])}); every {run_word} needs every item"
            )
    return tuple(seen.values())


def named(value: Any, name: str, place: str) -> str:
    """Return an id, or the name of a cluster or seed, as text.

    Args:
        value: what was found.
        name: the column or field that it is from.
        place: its file and line.

    Raises:
        UsageError: it is neither a usable text nor an integer.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UsageError(f"{place}, {name}: found {json_kind(value)}, expected a text or an integer")
    if fault := text_fault(value):
        raise UsageError(f"{place}, {name}: found {fault}, expected a text")
    return value


def number(value: Any, name: str, place: str) -> float:
    """Return a score as a number; ``name`` is its column or metric. True is 1 and false is 0.

    Raises:
        UsageError: it is no finite number: a missing score is neither left out nor counted as 0.
    """
    if not isinstance(value, int | float):
        raise UsageError(f"{place}, {name}: found {json_kind(value)}, expected a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise UsageError(f"{place}, {name}: found {value!r:.20}, expected a finite number; an item needs a score")
    return found


def choose_metric(wanted: str | None, found: list[str], source: str) -> str:
    """Return the metric that is meant: the wanted one, or the only one.

    Raises:
        UsageError: there is none, the wanted one does not exist, or none is wanted and there are several.
    """
    if not found:
        raise UsageError(f"{source} has no metric with a number for each item, so there is nothing to compare")
    listed = ", ".join(shown(name) for name in found[:20])
    if wanted is None:
        if len(found) > 1:
            raise UsageError(f"{source} has several metrics: {listed}; choose one with --metric")
        return found[0]
    if wanted not in found:
        raise UsageError(f"{source} has no metric {shown(wanted)}; choose --metric among {listed}")
    return wanted
