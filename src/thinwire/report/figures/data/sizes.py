"""Score of each arm against its trained parameters, bytes in place of the embedding matrix, and bits of a code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thinwire.report.analysis_record import TOKEN_ID, Analysis
from thinwire.report.figures.data.rows import (
    ALPHA,
    arms,
    ceiling,
    differ_in_lora_alone,
    layer_order,
    layers_of,
)
from thinwire.report.figures.data.settings import SettingLine, along_settings, words
from thinwire.report.rows import AnalysisRow
from thinwire.report.score_words import begins

_ENOUGH = 3
"""Different sizes: of two, the differences say which is better."""

_MOST_KINDS = 10
"""More would be hard to tell apart."""


@dataclass(frozen=True)
class Point:
    """An arm by its size and score."""

    name: str
    label: str
    size: float
    score: float
    group: str
    """Empty for what belongs to no group, or lies on several lines."""
    best: bool
    is_baseline: bool


@dataclass(frozen=True)
class Tradeoff:
    """Arms by one size, smallest first."""

    key: str
    title: str
    axis: str
    unit: str
    points: list[Point]
    groups: list[str]
    lines: list[list[str]]
    """For each group the names of the arms on its line, smallest first; none where groups are no lines."""
    ceiling: float | None
    metric: str
    """Name of the score."""
    reference: tuple[str, float] | None
    """What the sizes are to be compared with, and its own size, where they reach it."""
    note: str = ""
    """What the caption says of these sizes beside what they count."""
    nests: bool = False
    """Whether marks that would cover each other are nested, as arms of equal size are the rule here."""

    @property
    def are_lines(self) -> bool:
        """Whether the arms of a group differ in one setting alone, so that a line joins them."""
        return bool(self.lines)


_SIZES = (
    ("params", "parameters", "trainable parameters", "trainable parameters, adapter and LoRA", "parameters"),
    ("matrix_bytes", "bytes", "bytes", "bytes in place of the embedding matrix", "bytes"),
    ("code_bits", "bits", "bits a token", "bits a token's code takes", "bits"),
)


def tradeoffs(analysis: Analysis) -> list[Tradeoff]:
    """A figure for each size of which the arms have at least three."""
    found = []
    for field, key, size_name, axis, unit in _SIZES:
        sized = [(float(size), row) for row in arms(analysis) if (size := getattr(row, field))]
        sized.sort(key=lambda pair: pair[0])
        rows = [row for _, row in sized]
        sizes = {row.name: size for size, row in sized}
        if len(set(sizes.values())) < _ENOUGH:
            continue
        labels, groups, lines = _labels(analysis, rows, sizes)
        points = [_point(row, sizes[row.name], *labels[row.name]) for row in rows]
        reference = _reference(analysis, key, points)
        label = analysis.task.label
        title = f"{begins(label)} against {size_name}"
        found.append(Tradeoff(key, title, axis, unit, points, groups, lines, ceiling(analysis), label, reference))
    return found


def _point(row: AnalysisRow, size: float, label: str, group: str) -> Point:
    return Point(row.name, label, size, row.done_score, group, row.best, row.is_baseline)


def _labels(
    analysis: Analysis, rows: Sequence[AnalysisRow], sizes: Mapping[str, float]
) -> tuple[dict[str, tuple[str, str]], list[str], list[list[str]]]:
    """Label and group of each arm by name, the groups in order, and the names on each line if these are lines.

    Where LoRA alone differs, its layers are the groups. Else lines along a setting are, of all that change the size
    the longest, and arms are labelled by their place on it; an arm on none of them keeps its name, and one on several
    (without LoRA, say, whose rate does nothing then) is of none in particular. Where most arms are on none, their kinds
    of code are the groups, if these differ.
    """
    labels = {row.name: (row.name, "") for row in rows}
    if differ_in_lora_alone(rows):
        for row in rows:
            if row.rank:
                label = row.name if row.is_baseline else f"r{row.rank} {ALPHA}{row.alpha:g}"
                labels[row.name] = (label, layers_of(row))
        return labels, sorted({group for _, group in labels.values() if group}, key=layer_order), []
    changing = [found for found in along_settings(analysis) if all(_changes(line, sizes) for line in found.lines)]
    along = max(changing, key=lambda found: (found.longest, -len(found.lines)), default=None)
    on_lines = {point.arm.name for line in (along.lines if along else []) for point in line.points}
    kinds = _kinds(rows)
    if kinds and 2 * len(on_lines) < len(rows):
        in_order = sorted(set(kinds.values()), key=lambda kind: kind.split(", "))
        return {name: (name, kind) for name, kind in kinds.items()}, in_order, []
    if along is None:
        return labels, [], []
    groups = [line.label or along.path for line in along.lines]
    values = [{point.arm.name: point.value for point in line.points} for line in along.lines]
    lines = [[name for name in sizes if name in found] for found in values]
    for group, names, found in zip(groups, lines, values, strict=True):
        for name in names:
            is_shared = sum(name in others for others in lines) > 1
            labels[name] = (words(along.path, found[name]), "" if is_shared else group)
    return labels, groups, lines


def _kinds(rows: Sequence[AnalysisRow]) -> dict[str, str]:
    """For each arm its kind of code in words, and its LoRA where there is one rank or none. Nothing where codes are of
    one kind."""
    ranks = {row.settings.get("lora.rank") for row in rows}
    # The kind, and what a kind's own settings say in words: the form of its codebooks, for example.
    named = {path: None for row in rows for path, value in row.settings.items() if isinstance(value, str)}
    told_by = [path for path in named if path == "codec.kind" or (path.startswith("codec.") and path.count(".") > 1)]
    told_by.sort(key=lambda path: path.count("."))
    told_by += ["lora.rank"] if len(ranks) == 2 and 0 in ranks else []
    kinds = {
        row.name: ", ".join(
            words(path, row.settings[path]) if path == "lora.rank" else row.settings[path]
            for path in told_by
            if path in row.settings
        )
        for row in rows
    }
    return kinds if "codec.kind" in told_by and len(set(kinds.values())) <= _MOST_KINDS else {}


def _changes(line: SettingLine, sizes: Mapping[str, float]) -> bool:
    return len({sizes.get(point.arm.name) for point in line.points}) == len(line.points)


def _reference(analysis: Analysis, key: str, points: Sequence[Point]) -> tuple[str, float] | None:
    """The embedding matrix without compression, and the token id."""
    if analysis.bytes is None:
        return None
    bits = {form.form: form.bits for form in analysis.bytes.wire_bits}
    known = {"bytes": ("original matrix", analysis.bytes.matrix_bytes_original), "bits": (TOKEN_ID, bits[TOKEN_ID])}
    name, size = known.get(key, ("", 0))
    return (name, size) if points[0].size <= size <= 1.1 * points[-1].size else None
