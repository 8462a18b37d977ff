"""Compare results by the scores of their items: paired, clustered where clusters are known, and judged by tiers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from thinwire.config.settings import VerdictConfig
from thinwire.errors import UsageError, shown
from thinwire.items.formats import check_exists, read_scores
from thinwire.items.item_scores import Choice, FileScores, ScoredItem
from thinwire.stats.bootstrap import Comparison, compare_to_baseline
from thinwire.stats.pairing import Run
from thinwire.stats.verdict import JudgedArm, judge
from thinwire.stats.words import Words

_SCALE = re.compile(r"(?P<low>[+-]?[\d.]+):(?P<high>[+-]?[\d.]+)", re.ASCII)


class Scale(NamedTuple):
    """The range that scores can have; a point is a hundredth of it."""

    low: float = 0.0
    high: float = 1.0
    lower_is_better: bool = False

    @classmethod
    def of(cls, text: str, *, lower_is_better: bool = False) -> Scale:
        """Read ``LOW:HIGH``, for example ``0:100``.

        Raises:
            UsageError: it has another form, or the range is empty.
        """
        found = _SCALE.fullmatch(text)
        try:
            low, high = (float(found["low"]), float(found["high"])) if found else (0.0, 0.0)
        except ValueError:
            low = high = 0.0
        if not low < high or not math.isfinite(high - low):
            raise UsageError(f"--scale takes LOW:HIGH, such as 0:100, got {shown(text)}")
        return cls(low, high, lower_is_better)

    def fraction(self, score: float) -> float:
        """Return how good a score is, from 0 (worst) to 1 (best)."""
        return ((self.high - score) if self.lower_is_better else (score - self.low)) / (self.high - self.low)

    def score(self, fraction: float) -> float:
        """Return the score of a fraction: the inverse of ``fraction``."""
        above = (1 - fraction) if self.lower_is_better else fraction
        return self.low + above * (self.high - self.low)


@dataclass(frozen=True, kw_only=True)
class ItemComparison:
    """Results compared with the first of them."""

    baseline: str
    comparison: Comparison
    """Of every other result with the baseline, in fractions of the scale; higher is better."""
    judged: dict[str, JudgedArm]
    """Verdicts on the same."""
    metrics: dict[str, str]
    """The metric of each result, the baseline included."""
    num_items: int
    num_clusters: int | None
    """None where no result says which items belong together."""
    covers: str
    """What the intervals cover."""
    scale: Scale
    settings: VerdictConfig
    notes: tuple[str, ...]
    """What a reader should know of the files."""


def compare_items(
    results: Mapping[str, Sequence[Path]],
    choice: Choice | None = None,
    scale: Scale | None = None,
    settings: VerdictConfig | None = None,
) -> ItemComparison:
    """Compare results, of which the first is the baseline.

    Args:
        results: the files of each, by its name; several files are several runs (seeds) of one result.
        choice: which scores of the files are meant.
        scale: the range that scores can have.
        settings: tiers, confidence and resamples.

    Raises:
        UsageError: fewer than two results, a file that cannot be read, scores outside of the scale, or results that
            are not of the same items.
    """
    choice, scale, settings = choice or Choice(), scale or Scale(), settings or VerdictConfig()
    if len(results) < 2:
        given = ", ".join(str(path) for paths in results.values() for path in paths) or "none"
        raise UsageError(f"a comparison needs a baseline and at least one other result, got {given}")
    for path in (path for paths in results.values() for path in paths):
        check_exists(path)  # before any is read, which may take a while
    read = {name: [read_scores(path, choice) for path in paths] for name, paths in results.items()}
    baseline, *others = results
    _refuse_other_metrics(read)
    _refuse_other_items(read)
    _refuse_runs_that_come_twice(read)
    clusters = _clusters(read)
    runs = {name: [run for one in files for run in _runs(one, clusters, scale, name)] for name, files in read.items()}
    num_clusters = len(set(clusters.values())) if clusters else None
    words = Words(
        item="item",
        cluster="cluster" if clusters else "item",
        within="in",
        points="points",
        arms="treatments" if len(others) > 1 else "",
        more_seeds="run more seeds" if any(len(found) > 1 for found in runs.values()) else "",
    )
    comparison = compare_to_baseline(
        runs[baseline],
        {name: runs[name] for name in others},
        confidence=settings.confidence,
        num_resamples=settings.resamples,
        words=words,
    )
    return ItemComparison(
        baseline=baseline,
        comparison=comparison,
        judged={name: judge(comparison, name, settings, power=settings.power, words=words) for name in others},
        metrics={name: files[0].metric for name, files in read.items()},
        num_items=len(runs[baseline][0].ids),
        num_clusters=num_clusters,
        covers=" or ".join(dict.fromkeys(comparison.arms[name].covers for name in others)),
        scale=scale,
        settings=settings,
        notes=tuple(note for files in read.values() for one in files for note in one.notes),
    )


def _refuse_other_metrics(read: Mapping[str, Sequence[FileScores]]) -> None:
    """Refuse scores of several metrics, except those of different tools, which have their own names for one metric.

    Raises:
        UsageError: there are some.
    """
    metrics: dict[str, tuple[str, str]] = {}
    for name, files in read.items():
        for one in files:
            metric, by = metrics.setdefault(one.tool, (one.metric, name))
            if metric != one.metric:
                raise UsageError(
                    f"{by} has scores of {metric}, and {name} of {one.metric}; choose one that all have with --metric"
                )
        if len({one.tool for one in files}) > 1:
            raise UsageError(
                f"the files of {name} are of {files[0].tool} and others; runs of one result are of one tool"
            )


def _refuse_runs_that_come_twice(read: Mapping[str, Sequence[FileScores]]) -> None:
    """Refuse a seed that several files of one result have: it would count as several runs.

    Raises:
        UsageError: there is one.
    """
    for name, files in read.items():
        seeds = [seed for one in files for seed in {item.run for item in one.items} if seed]
        if twice := next((seed for seed in seeds if seeds.count(seed) > 1), None):
            raise UsageError(f"two files of {name} hold the seed {shown(twice)}; give each run once")


def _refuse_other_items(read: Mapping[str, Sequence[FileScores]]) -> None:
    """Refuse results that have not the same items as the first.

    Raises:
        UsageError: items are missing, or an id stands for two different items.
    """
    (first, (base, *_)), *_ = read.items()
    asked = {item.id: item for item in base.items}
    for name, files in read.items():
        for one in files:
            found = {item.id: item for item in one.items}
            if lacking := sorted(asked.keys() - found.keys()):
                raise UsageError(_missing(name, lacking, len(asked), first))
            if more := sorted(found.keys() - asked.keys()):
                raise UsageError(_missing(first, more, len(found), name))
            for id_, item in found.items() if one.tool == base.tool else ():
                before = asked[id_].content
                if before is not None and item.content is not None and item.content != before:
                    raise UsageError(
                        f"item {shown(id_)} of {name} is not item {shown(id_)} of {first}: what was asked differs "
                        f"({item.place}); compare results of the same items"
                    )


def _missing(name: str, ids: Sequence[str], total: int, other: str) -> str:
    return (
        f"{name} lacks {len(ids):,} of the {total:,} items of {other} (first: {shown(ids[0])}); "
        "compare results of the same items"
    )


def _clusters(read: Mapping[str, Sequence[FileScores]]) -> dict[str, str]:
    """Return the cluster of each item, from the results that say it; empty where none does.

    Raises:
        UsageError: two results disagree.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, files in read.items():
        for item in (item for one in files for item in one.items):
            if item.cluster is None:
                continue
            before, by = found.setdefault(item.id, (item.cluster, name))
            if before != item.cluster:
                raise UsageError(
                    f"item {shown(item.id)} is in cluster {shown(before)} in {by} and in {shown(item.cluster)} in "
                    f"{name}; give an item one cluster"
                )
    return {id_: cluster for id_, (cluster, _) in found.items()}


def _runs(file: FileScores, clusters: Mapping[str, str], scale: Scale, name: str) -> list[Run]:
    by_run: dict[str, list[ScoredItem]] = {}
    for item in file.items:
        if not scale.low <= item.score <= scale.high:
            raise UsageError(
                f"{name}, {item.place}: {file.metric} of item {shown(item.id)} is {item.score:g}, expected a number "
                f"from {scale.low:g} to {scale.high:g}; give the range of the scores with --scale LOW:HIGH"
            )
        by_run.setdefault(item.run, []).append(item)
    return [
        Run(
            ids=tuple(item.id for item in items),
            paragraph_ids=tuple(clusters[item.id] if clusters else item.id for item in items),
            scores=tuple(scale.fraction(item.score) for item in items),
        )
        for items in by_run.values()
    ]
