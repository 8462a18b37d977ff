"""Arms along one setting, all else equal, and what a setting is called in a figure.

Lines follow from the settings in which arms differ, never from the names of experiments or arms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.differences import Compared, compared
from thinwire.report.figures.data.rows import arms
from thinwire.report.rows import AnalysisRow

_ENOUGH = 3
"""Values that some line must have: two only say which is higher, as the differences do."""
_COSINE_VARIES = 0.005
"""Cosines that differ by less would be a flat line."""
_NO_QUANTITY = frozenset({"seed"})

Others = tuple[tuple[str, Any], ...]
"""What the arms of a line have in common."""


@dataclass(frozen=True)
class SettingPoint:
    """An arm at its value of the setting."""

    value: float
    arm: Compared
    cosine: float | None


@dataclass(frozen=True)
class SettingLine:
    """Arms that differ in one setting alone, by its value."""

    label: str
    """What tells it from the other lines; empty where there is no other."""
    points: list[SettingPoint]


@dataclass(frozen=True)
class AlongSetting:
    """Every line along one setting. ``shared`` says what all of them have in common."""

    path: str
    values: list[float]
    lines: list[SettingLine]
    shared: str
    has_cosine: bool

    @property
    def longest(self) -> int:
        """Values of the line that has most of them."""
        return max(len(line.points) for line in self.lines)


def words(path: str, value: Any, beside: Iterable[str] = ()) -> str:
    """A setting as a few words: ``rank 16``, ``no LoRA``, ``12 layers``, ``k tokens 4``; where another of the settings
    ``beside`` it ends alike, with its group: ``codec weighting sqrt``."""
    if path == "lora.rank" and value == 0:
        return "no LoRA"
    if path == "lora.layers":
        return f"{written(value)} layers"
    *groups, name = path.split(".")
    ends_alike = any(other != path and other.rsplit(".", 1)[-1] == name for other in beside)
    return " ".join([*(groups[-1:] if ends_alike else []), name.replace("_", " "), written(value)])


def written(value: Any) -> str:
    """A value as an experiment file would have it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return f"{value:.10g}" if isinstance(value, int | float) else str(value)


def along_settings(analysis: Analysis) -> list[AlongSetting]:
    """For each numeric setting along which some line has three values: all lines along it of at least two."""
    rows = [(row, found) for row in arms(analysis) if (found := compared(row))]
    paths = dict.fromkeys(path for row, _ in rows for path in row.settings)
    return [lines for path in paths if path not in _NO_QUANTITY and (lines := _along(path, rows))]


def _along(path: str, rows: list[tuple[AnalysisRow, Compared]]) -> AlongSetting | None:
    placed = [
        (_others(row, path), SettingPoint(float(row.settings[path]), arm, row.cosine))
        for row, arm in rows
        if _is_number(row.settings.get(path))
    ]
    groups: dict[Others, list[SettingPoint]] = {}
    for others, point in placed:
        groups.setdefault(others, []).append(point)
    groups = {others: points for others, points in groups.items() if len({point.value for point in points}) > 1}
    if max((len({point.value for point in points}) for points in groups.values()), default=0) < _ENOUGH:
        return None
    for others, points in groups.items():
        # Where a setting of the line does nothing at some value (the rank at no LoRA, say), that arm belongs to it.
        points += [
            point
            for theirs, point in placed
            if theirs != others and _agree(theirs, others) and point.value not in {own.value for own in points}
        ]
        points.sort(key=lambda point: point.value)
    return _labelled(path, groups)


def _others(row: AnalysisRow, path: str) -> Others:
    return tuple((other, value) for other, value in row.settings.items() if other != path)


def _agree(one: Others, other: Others) -> bool:
    """Whether two arms differ in nothing that has an effect on both."""
    there = dict(other)
    return all(there.get(path, value) == value for path, value in one)


def _labelled(path: str, groups: Mapping[Others, list[SettingPoint]]) -> AlongSetting:
    shared = [pair for pair in next(iter(groups)) if all(pair in others for others in groups)]
    paths = {path, *(other for others in groups for other, _ in others)}
    lines = [
        SettingLine(_phrase((pair for pair in others if pair not in shared), paths), groups[others])
        for others in sorted(groups, key=_order)
    ]
    points = [point for line in lines for point in line.points]
    cosines = [point.cosine for point in points if point.cosine is not None]
    return AlongSetting(
        path=path,
        values=sorted({point.value for point in points}),
        lines=lines,
        shared=_phrase(shared, paths),
        has_cosine=bool(cosines) and max(cosines) - min(cosines) >= _COSINE_VARIES,
    )


def _phrase(pairs: Iterable[tuple[str, Any]], beside: Iterable[str]) -> str:
    return ", ".join(words(path, value, beside) for path, value in pairs)


def _order(others: Others) -> list[tuple[str, bool, float, str]]:
    """By the settings one after the other, numbers by their size."""
    return [
        (path, not _is_number(value), float(value) if _is_number(value) else 0.0, str(value)) for path, value in others
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
