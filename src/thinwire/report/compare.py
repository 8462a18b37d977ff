"""Compare the configurations of finished sweeps.

This file imports nothing but Python's own library: every sweep leaves a copy of it as ``compare_results.py``, which
works on any machine, with nothing installed:

    python compare_results.py             # the sweep it lies in
    python compare_results.py RUN RUN     # other sweeps
    python compare_results.py --sort params --json

A finished sweep's ``analysis.json`` holds intervals and tiers; of an unfinished one the records are read, which hold
the figures of each arm alone.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

Row = dict[str, Any]
"""What is compared: one arm or control; figures are fractions, None where there is none."""

LEGEND = "* chosen on the selection split; F1 and EM are test figures in points, `vs base` against the baseline"

COLUMNS = ("f1", "em", "difference", "p", "selection_f1", "cosine", "params", "code_bits", "distinct", "minutes")


def load_rows(run: Path) -> list[Row]:
    """One dict for each arm and control of a run folder: figures as fractions, None where there is none."""
    sweep_file = run / "sweep.json"
    if not sweep_file.is_file():
        raise FileNotFoundError(f"{run} is no sweep's folder: it has no sweep.json")
    sweep = _read(sweep_file)
    if missing := [key for key in ("name", "baseline", "planned", "finished_at") if key not in sweep]:
        raise ValueError(f"{sweep_file} lacks {', '.join(missing)}")
    analysis_file = run / "analysis.json"
    if analysis_file.is_file():
        analysis = _read(analysis_file)
        # A resumed sweep goes on with its old analysis beside it, which then no longer holds.
        if sweep["finished_at"] and analysis["sweep"]["finished_at"] == sweep["finished_at"]:
            return _with_differences([_analysed_row(row, sweep["name"]) for row in analysis["rows"]], sweep["baseline"])
    return _rows_of_records(run, sweep)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no complete JSON ({error})") from None


def _analysed_row(row: dict[str, Any], run_name: str) -> Row:
    difference = row["f1_difference"] or {}
    kept = ["name", "kind", "status", "error", "best", "f1", "em", "n", "raw_f1"]
    kept += ["selection_f1", "cosine", "params", "code_bits"]
    return {
        "run": run_name,
        **{key: row[key] for key in kept},
        "difference": difference.get("estimate"),
        "low": difference.get("low"),
        "high": difference.get("high"),
        "p": difference.get("p_adjusted"),
        "tier": row["supported_tier"],
        "distinct": row["collapse"]["figures"]["distinct_share"] if row["collapse"] else None,
        "minutes": row["minutes"],
    }


def _rows_of_records(run: Path, sweep: dict[str, Any]) -> list[Row]:
    files = sorted(run.glob("*/record.json")) + sorted(run.glob("controls/*/record.json"))
    rows = [_read_row(file, sweep) for file in files]
    order = list(sweep["planned"])
    rows.sort(key=lambda row: order.index(row["name"]) if row["name"] in order else len(order))
    best = best_arm(rows)
    if best:
        best["best"] = True
    return _with_differences(rows, sweep["baseline"])


def _with_differences(rows: list[Row], baseline_name: str) -> list[Row]:
    """Fill in what lacks a difference to the baseline: controls, and arms without an analysis."""
    baseline = next((row for row in rows if row["name"] == baseline_name and row["f1"] is not None), None)
    for row in rows:
        if baseline and row is not baseline and row["f1"] is not None and row["difference"] is None:
            row["difference"] = row["f1"] - baseline["f1"]
    return rows


def _read_row(file: Path, sweep: dict[str, Any]) -> Row:
    try:
        return _row(_read(file), sweep)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} is no complete record ({type(error).__name__}: {error})") from None


def _row(record: dict[str, Any], sweep: dict[str, Any]) -> Row:
    done = record["status"] == "done"
    test = record["test"] if done else {}
    reconstruction = record["reconstruction"] if done else None
    return {
        "run": sweep["name"],
        "name": record["name"],
        "kind": record["kind"],
        "status": record["status"],
        "error": record["error"],
        "best": False,
        "f1": test.get("f1"),
        "em": test.get("exact_match"),
        "n": test.get("n"),
        "raw_f1": test.get("raw_f1"),
        "selection_f1": record["selection"]["f1"] if done else None,
        "cosine": reconstruction["cosine"] if reconstruction else None,
        "params": sum(record["trainable_parameters"].values()) if done else None,
        "code_bits": code_bits(sweep["model"], record["codec"]) if done and record["codec"] else None,
        "difference": None,
        "low": None,
        "high": None,
        "p": None,
        "tier": None,
        "distinct": test["collapse"]["distinct_share"] if done else None,
        "minutes": record["seconds_total"] / 60,
    }


def code_bits(model: dict[str, Any], codec: dict[str, Any]) -> int:
    """What the code of one token takes: integers packed, floats at the size of the model's own numbers."""
    packed: int | None = codec.get("code_bits")
    return 8 * int(model["bytes_per_number"]) * int(codec["code_width"]) if packed is None else packed


def best_arm(rows: list[Row]) -> Row | None:
    """The arm with the highest selection F1 (the first of equals), or None: the test split never chooses."""
    arms = [row for row in rows if row["kind"] == "arm" and row["status"] == "done"]
    return max(arms, key=lambda row: row["selection_f1"], default=None)


def sort_rows(rows: list[Row], column: str) -> list[Row]:
    """Rows by a column, highest first; rows without a figure come last."""
    return sorted(rows, key=lambda row: (row[column] is None, -(row[column] or 0)))


def format_table(rows: list[Row], *, show_run: bool = False) -> str:
    """Rows as lines of text, columns aligned."""
    lines = table_cells(rows, show_run=show_run)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    left = 2 if show_run else 1
    return "\n".join(
        " ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))  # noqa: B905 - strict= needs Python 3.10
        ).rstrip()
        for line in lines
    )


def table_cells(rows: list[Row], *, show_run: bool = False) -> list[list[str]]:
    """A header and a line for each row. F1 and EM are points (0 to 100); ``*`` marks the arm that selection chose.
    Where codes differ in size, there is a column for it: bits a token."""
    header = ["configuration", "trained", "F1", "EM", "vs base", "interval", "p", "tier", "sel F1", "unique", "min"]
    codes_differ = len({row["code_bits"] for row in rows if row["code_bits"] is not None}) > 1
    if codes_differ:
        header.insert(1, "bits")
    lines = [(["run"] if show_run else []) + header]
    for row in rows:
        interval = f"{_points(row['low'], '+')} to {_points(row['high'], '+')}" if row["low"] is not None else "-"
        cells = [
            ("* " if row["best"] else "  ") + row["name"],
            "-" if row["params"] is None else f"{row['params']:,}",
            _points(row["f1"]),
            _points(row["em"]),
            _points(row["difference"], sign="+"),
            interval,
            "-" if row["p"] is None else f"{row['p']:.4f}",
            row["tier"] or "-",
            _points(row["selection_f1"]),
            "-" if row["distinct"] is None else f"{row['distinct']:.0%}",
            f"{row['minutes']:.1f}",
        ]
        if row["status"] != "done":
            cells[2:4] = [row["status"], ""]
        if codes_differ:
            cells.insert(1, "-" if row["code_bits"] is None else f"{row['code_bits']:,}")
        lines.append(([row["run"]] if show_run else []) + cells)
    return lines


def format_csv(rows: list[Row]) -> str:
    """Rows as CSV with a header; figures as fractions, empty where there is none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _points(fraction: float | None, sign: str = "") -> str:
    return "-" if fraction is None else f"{100 * fraction:{sign}.1f}"


def main(arguments: list[str] | None = None) -> int:
    """Print the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare the configurations of finished sweeps.")
    parser.add_argument("runs", nargs="*", type=Path, help="sweep folders (default: where this file lies)")
    parser.add_argument("--sort", choices=COLUMNS, default="f1", help="column to sort by, highest first")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON, figures as fractions")
    parser.add_argument("--csv", action="store_true", help="print the rows as CSV, figures as fractions")
    options = parser.parse_args(arguments)
    runs = options.runs or [Path(__file__).resolve().parent]
    try:
        rows = sort_rows([row for run in runs for row in load_rows(run)], options.sort)
    except (OSError, ValueError, KeyError) as error:
        print(f"cannot read the results: {error}", file=sys.stderr)
        return 1
    if options.json:
        text = json.dumps(rows, indent=2)
    elif options.csv and rows:
        text = format_csv(rows)
    else:
        text = _text(rows, show_run=len(runs) > 1)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = None
    return 0


def _text(rows: list[Row], *, show_run: bool) -> str:
    arms = [row for row in rows if row["kind"] == "arm"]
    controls = [row for row in rows if row["kind"] == "control"]
    parts = [format_table(arms, show_run=show_run) if arms else "no arm is finished yet"]
    if controls:
        parts.append("Controls\n" + format_table(controls, show_run=show_run))
    return "\n\n".join([*parts, LEGEND])


if __name__ == "__main__":
    sys.exit(main())
