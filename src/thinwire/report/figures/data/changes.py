"""Arms by what they change of the baseline: one thing, or several at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.data.differences import Compared, compared
from thinwire.report.figures.data.rows import arms, baseline, confidence
from thinwire.report.figures.data.settings import written

_ENOUGH = 3
"""Single changes, each of another group of settings: with fewer kinds, arms by their difference say as much."""


@dataclass(frozen=True)
class Rung:
    """An arm, and what it changes in words."""

    label: str
    changes: str
    arm: Compared


@dataclass(frozen=True)
class Ladder:
    """From the baseline, by one change each; beside these, the arms that combine several. Greatest gain first."""

    baseline: str
    score: float
    single: list[Rung]
    combined: list[Rung]
    confidence: str
    metric: str
    """Name of the score."""

    @property
    def rungs(self) -> list[Rung]:
        """All of them in order."""
        return self.single + self.combined

    def span(self) -> tuple[float, float]:
        """The least and the greatest score that must be seen; an interval may reach below zero, a score does not."""
        ends = [self.score + end for rung in self.rungs for end in (rung.arm.estimate, *(rung.arm.outer or ()))]
        return max(0.0, min(self.score, *ends)), max(self.score, *ends)


def ladder(analysis: Analysis) -> Ladder | None:
    """The baseline and its changes; None where single changes are too few, or all of a kind.

    A change is of one group of settings (``prompt``, ``lora``, ...): whatever the arm sets in it belongs together.
    """
    base = baseline(analysis)
    if base is None:
        return None
    single, combined, kinds = [], [], set()
    for row in arms(analysis):
        arm, changes = compared(row), _changes(row.settings, base.settings)
        if arm is None or not changes:
            continue
        groups = {_group(path) for path in changes}
        phrase = _phrase(changes)
        if len(groups) == 1:
            single.append(Rung(phrase, phrase, arm))
            kinds |= groups
        else:
            combined.append(Rung(row.name, phrase, arm))
    if len(kinds) < _ENOUGH:
        return None
    for rungs in (single, combined):
        rungs.sort(key=lambda rung: -rung.arm.estimate)
    return Ladder(base.name, base.done_score, single, combined, confidence(analysis), analysis.task.label)


def _changes(settings: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in settings.items() if path not in base or base[path] != value}


def _group(path: str) -> str:
    return path.split(".", maxsplit=1)[0]


def _phrase(changes: Mapping[str, Any]) -> str:
    """``prompt.max_tokens 320, truncation right``: a group is named once."""
    parts, before = [], ""
    for path, value in changes.items():
        name = path if _group(path) != before else path.split(".", maxsplit=1)[1]
        parts.append(f"{name} {written(value)}")
        before = _group(path)
    return ", ".join(parts)
