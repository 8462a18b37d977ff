"""The plan's section of REPORT.md, filled from the analysis, and putting it into a report that people write by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinwire.errors import UsageError
from thinwire.records import write_text

BEGIN, END = "<!-- thinwire: begin {name} -->", "<!-- thinwire: end {name} -->"
"""What marks the section of one sweep; everything outside is left as it is."""

Row = dict[str, Any]
"""What an analysis says of one arm or control."""

_ALPHA, _DELTA = "\u03b1", "\u0394"
"""As the plan writes them."""


def points(fraction: float | None, sign: str = "") -> str:
    """A fraction as points, with one decimal; nothing where there is none."""
    return "" if fraction is None else f"{100 * fraction:{sign}.1f}"


def interval(difference: Row) -> str:
    """Both ends of a difference's simultaneous interval as signed points, or why there is none."""
    if difference["low"] is None:
        return difference["outcome"] or "no interval"
    return f"{points(difference['low'], '+')} to {points(difference['high'], '+')}"


def _gain(row: Row) -> str:
    difference = row["f1_difference"]
    return f"{points(difference['estimate'], '+')} ({interval(difference)})" if difference else ""


def _p_value(row: Row) -> str:
    difference = row["f1_difference"]
    return f"{difference['p_adjusted']:.4f}" if difference and difference["p_adjusted"] is not None else ""


@dataclass(frozen=True)
class Column:
    """A column of a table of arms or controls: its head, and what it says of a row that is done."""

    head: str
    cell: Callable[[Row], str]
    numeric: bool = True


CONFIGURATION = Column("configuration", lambda row: f"**{row['name']}**" if row["best"] else row["name"], numeric=False)
TRAINED = Column("trained", lambda row: f"{row['params']:,}")
F1 = Column("F1", lambda row: points(row["f1"]))
EM = Column("EM", lambda row: points(row["em"]))
GAIN = Column("to the baseline", _gain, numeric=False)
P_VALUE = Column("adjusted p", _p_value)
TIER = Column("tier", lambda row: row["supported_tier"] or "", numeric=False)
FORM = Column("form", lambda row: row["collapse"]["finding"], numeric=False)

_COLUMNS = (CONFIGURATION, TRAINED, F1, EM, GAIN, P_VALUE, TIER, FORM)


_PLAN = (
    "### 2.9 Hypothesis 9: LoRA with Minimal Supervision",
    "**Motivation**: Phase 1a (pure reconstruction) achieved 24% F1. Can LoRA adaptation improve this without "
    "K-token CE collapse?",
)
"""How the plan begins its section."""


def section(analysis: dict[str, Any]) -> str:
    """The plan's section 2.9 as Markdown; a section of the same form for a sweep that asks something else."""
    sweep, verdict = analysis["sweep"], analysis["verdict"]
    controls = [row for row in analysis["rows"] if row["kind"] == "control"]
    parts = [
        *(_PLAN if verdict["about_lora"] else (f"### {sweep['name']}",)),
        _design(analysis),
        "**Results**:\n" + "\n".join(_results(analysis)),
        table([row for row in analysis["rows"] if row["kind"] == "arm"], _COLUMNS),
        f"Controls:\n\n{table(controls, _COLUMNS)}" if controls else "",
        f"**Lesson Learned**: {verdict['headline']}. {verdict['sentence']}",
        _steps("**Next steps**:", verdict["next_steps"]),
        _steps("If that confirms the estimate:", verdict["next_steps_if_confirmed"]),
        "\n".join(f"Note: {note}." for note in analysis["notes"]),
        f"Source: `{sweep['name']}`, finished {sweep['finished_at']}, thinwire {sweep['environment']['thinwire']}, "
        f"commit {sweep['environment']['git_commit'] or 'unknown'}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def insert(report: Path, name: str, text: str) -> bool:
    """Put ``text`` between the markers of sweep ``name`` in ``report``, at its end where there are none yet.

    Returns:
        Whether an earlier section was replaced.

    Raises:
        UsageError: the file is missing, or its markers are not one pair in order.
    """
    whole, replaced = inserted(report, name, text)
    _write(report, whole)
    return replaced


def inserted(report: Path, name: str, text: str) -> tuple[str, bool]:
    """What ``insert`` makes of ``report``, and what it returns, with nothing written; it raises the same."""
    if not report.is_file():
        raise UsageError(f"no file {report} to put the section into; create it, or leave --into out")
    begin, end = BEGIN.format(name=name), END.format(name=name)
    # Bytes, so that line endings outside the section stay what they are.
    try:
        before = report.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{report} is not UTF-8 ({error}); convert it first") from None
    block = f"{begin}\n{text}{end}"
    if (before.count(begin), before.count(end)) == (0, 0):
        gap = "" if not before or before.endswith("\n\n") else "\n" if before.endswith("\n") else "\n\n"
        return f"{before}{gap}{block}\n", False
    head, found_begin, rest = before.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end) or begin in rest or end in head + tail:
        raise UsageError(f"{report} must hold {begin} and then {end}, once each; mend or remove them")
    return f"{head}{block}{tail}", True


def _write(report: Path, text: str) -> None:
    mode = report.stat().st_mode
    write_text(report, text)
    report.chmod(mode)


def _design(analysis: dict[str, Any]) -> str:
    sweep = analysis["sweep"]
    num_test = next(row["n"] for row in analysis["rows"] if row["n"])
    return (
        f"**Design**: {sweep['description']}. Model {sweep['model']['name']}; {sweep['samples']:,} training questions "
        f"x {sweep['epochs']} epochs; {num_test:,} test questions; epoch and arm chosen on held-out training articles."
    )


def _results(analysis: dict[str, Any]) -> list[str]:
    verdict = analysis["verdict"]
    rows = {row["name"]: row for row in analysis["rows"] if row["kind"] == "arm" and row["f1"] is not None}
    lines = []
    baseline = next((row for row in rows.values() if row["is_baseline"]), None)
    if baseline:
        name = "no LoRA" if verdict["about_lora"] else baseline["name"]
        lines.append(f"- Baseline ({name}): {points(baseline['f1'])}% F1 ({verdict['baseline_check']})")
    best = rows[verdict.get("judged_by") or verdict["best"]]
    difference = best["f1_difference"]
    gain = f" ({_DELTA}={points(difference['estimate'], '+')}%, {interval(difference)})" if difference else ""
    said = f"LoRA ({_configuration(best)})" if verdict["about_lora"] else f"arm ({best['name']})"
    lines.append(f"- Best {said}: {points(best['f1'])}% F1{gain}")
    if best["share_of_ceiling"]:
        lines.append(f"- Share of the ceiling (text + LoRA): {best['share_of_ceiling']['estimate']:.0%}")
    lines.append(f"- Finding on form: {best['collapse']['finding']}")
    return lines


def _configuration(row: dict[str, Any]) -> str:
    if not row["rank"]:
        return str(row["name"])
    return f"r={row['rank']}, {_ALPHA}={row['alpha']:g}, layers={row['layers']}"


def table(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Rows as a Markdown table, the highest F1 first; one that failed shows its status and no figure."""
    if not rows:
        return ""
    lines = [line(column.head for column in columns), line("---:" if one.numeric else "---" for one in columns)]
    for row in sorted(rows, key=lambda row: -(row["f1"] or -1)):
        if row["f1"] is None:
            lines.append(f"{line([row['name'], row['status']])}{' |' * (len(columns) - 2)}")
        else:
            lines.append(line(column.cell(row) for column in columns))
    return "\n".join(lines)


def line(cells: Iterable[str]) -> str:
    """A line of a Markdown table; a bar within a cell would end it."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _steps(title: str, steps: list[str]) -> str:
    return "\n".join([title, "", *(f"{number}. {step}" for number, step in enumerate(steps, start=1))]) if steps else ""
