"""The plan's section of REPORT.md, filled from the analysis, and putting it into a report that people write by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thinwire.errors import UsageError
from thinwire.records import write_text

BEGIN, END = "<!-- thinwire: begin {name} -->", "<!-- thinwire: end {name} -->"
"""What marks the section of one sweep; everything outside is left as it is."""


_ALPHA, _DELTA = "\u03b1", "\u0394"
"""As the plan writes them."""


def section(analysis: dict[str, Any]) -> str:
    """Section 2.9 of the plan as Markdown."""
    sweep, verdict = analysis["sweep"], analysis["verdict"]
    controls = [row for row in analysis["rows"] if row["kind"] == "control"]
    parts = [
        "### 2.9 Hypothesis 9: LoRA with Minimal Supervision",
        "**Motivation**: Phase 1a (pure reconstruction) achieved 24% F1. Can LoRA adaptation improve this without "
        "K-token CE collapse?",
        _design(analysis),
        "**Results**:\n" + "\n".join(_results(analysis)),
        _table([row for row in analysis["rows"] if row["kind"] == "arm"]),
        f"Controls:\n\n{_table(controls)}" if controls else "",
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
        _write(report, f"{before}{gap}{block}\n")
        return False
    head, found_begin, rest = before.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end) or begin in rest or end in head + tail:
        raise UsageError(f"{report} must hold {begin} and then {end}, once each; mend or remove them")
    _write(report, f"{head}{block}{tail}")
    return True


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
        lines.append(f"- Baseline (no LoRA): {_points(baseline['f1'])}% F1 ({verdict['baseline_check']})")
    best = rows[verdict.get("judged_by") or verdict["best"]]
    difference = best["f1_difference"]
    gain = f" ({_DELTA}={_points(difference['estimate'], '+')}%, {_interval(difference)})" if difference else ""
    lines.append(f"- Best LoRA ({_configuration(best)}): {_points(best['f1'])}% F1{gain}")
    if best["share_of_ceiling"]:
        lines.append(f"- Share of the ceiling (text + LoRA): {best['share_of_ceiling']['estimate']:.0%}")
    lines.append(f"- Finding on form: {best['collapse']['finding']}")
    return lines


def _configuration(row: dict[str, Any]) -> str:
    if not row["rank"]:
        return str(row["name"])
    return f"r={row['rank']}, {_ALPHA}={row['alpha']:g}, layers={row['layers']}"


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [
        "| configuration | trained | F1 | EM | to the baseline | adjusted p | tier | form |",
        "| --- | ---: | ---: | ---: | --- | ---: | --- | --- |",
    ]
    for row in sorted(rows, key=lambda row: -(row["f1"] or -1)):
        if row["f1"] is None:
            lines.append(f"| {row['name']} | {row['status']} | | | | | | |")
            continue
        difference = row["f1_difference"]
        cells = [
            f"**{row['name']}**" if row["best"] else row["name"],
            f"{row['params']:,}",
            _points(row["f1"]),
            _points(row["em"]),
            f"{_points(difference['estimate'], '+')} ({_interval(difference)})" if difference else "",
            f"{difference['p_adjusted']:.4f}" if difference and difference["p_adjusted"] is not None else "",
            row["supported_tier"] or "",
            row["collapse"]["finding"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _steps(title: str, steps: list[str]) -> str:
    return "\n".join([title, "", *(f"{number}. {step}" for number, step in enumerate(steps, start=1))]) if steps else ""


def _interval(difference: dict[str, Any]) -> str:
    if difference["low"] is None:
        return difference["outcome"] or "no interval"
    return f"{_points(difference['low'], '+')} to {_points(difference['high'], '+')}"


def _points(fraction: float, sign: str = "") -> str:
    return f"{100 * fraction:{sign}.1f}"
