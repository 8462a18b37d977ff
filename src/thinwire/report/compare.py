"""Compare the arms of finished sweeps.

This file imports nothing but Python's own library: every sweep leaves a copy of it as ``compare_results.py``, which
works on any machine, with nothing installed:

    python compare_results.py             # the sweep it lies in
    python compare_results.py RUN RUN     # other sweeps
    python compare_results.py --sort params --json

A finished sweep's ``analysis.json`` holds intervals and tiers; of an unfinished one the records are read, which hold
the results of each arm alone.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

ComparedRow = dict[str, Any]
"""One arm or control: a value for each of ``COLUMNS``; metrics are fractions, None where there is none."""


class ComparedScores(NamedTuple):
    """What the rows of a table have as scores."""

    label: str = "F1"
    """Name of the score, as the tables have it."""
    shows_exact_match: bool = True
    """Whether the exact match of answers says more than the score does."""

    @property
    def of_selection(self) -> str:
        """Head of the column of scores on the selection split; a long label there would make tables too wide."""
        return f"sel {self.label}" if len(self.label) <= 2 else "sel"


OF_SQUAD = ComparedScores()
"""Of sweeps from before there was a choice of tasks."""


_WITHOUT_EXACT_MATCH = frozenset({"short_answer", "multiple_choice", "classification", "perplexity"})
"""Tasks whose tables have no column for it."""


def legend(scores: ComparedScores) -> str:
    """Explain the table below it."""
    shown = (
        f"{scores.label} and EM are test metrics" if scores.shows_exact_match else f"{scores.label} is a test metric"
    )
    return (
        f"* chosen on the selection split; {shown} in points, `vs base` against the baseline;\n"
        "unique: share of different answers, of the first seed where a row is the mean of several"
    )


ENOUGH_SEEDS = 5
"""With fewer, the spread over seeds is a rough estimate."""

ONE_SEED = "one seed an arm: the intervals cover the questions, not the luck of training"
FIXED = "training questions and codecs are fixed: the intervals do not cover another draw of training questions"


def few_seeds(numbers: Iterable[int]) -> str | None:
    """Say that intervals know little of the luck of training; None where there are enough seeds.

    Args:
        numbers: of seeds of the arms that are compared, at least one.
    """
    seeds = sorted(set(numbers))
    if seeds == [1]:
        return ONE_SEED
    if seeds[0] < ENOUGH_SEEDS:
        return f"{' or '.join(map(str, seeds))} seeds: below {ENOUGH_SEEDS}, intervals of training luck are rough"
    return None


def overlap(shared: int) -> str | None:
    """Say how many test paragraphs occur in the training data; None where there are none.

    Args:
        shared: their number, as the sweep's header has it.
    """
    if not shared:
        return None
    subject = "1 test paragraph also occurs" if shared == 1 else f"{shared:,} test paragraphs also occur"
    return f"{subject} in the training data: scores are not of unseen text"


_EARLIER = {
    "score": "f1",
    "raw_score": "raw_f1",
    "selection_score": "selection_f1",
    "score_difference": "f1_difference",
}
"""What earlier versions called entries of records and analyses."""


_NEWER = frozenset({"prompts", "prompt_costs"})
"""Entries that records and analyses of earlier versions lack."""


def code_bits(bytes_per_number: int, code_width: int, packed: int | None) -> int:
    """Bits that the code of one token takes: integers packed, floats at the size of the model's own numbers."""
    return 8 * bytes_per_number * code_width if packed is None else packed


def _at(value: Any, path: str) -> Any:
    """What is at a dotted path; None where something on the way is null, or the path is empty."""
    for key in filter(None, path.split(".")):
        if value is None:
            return None
        if key in _NEWER and key not in value:
            return None
        earlier = _EARLIER.get(key)
        value = value[earlier if key not in value and earlier in value else key]
    return value if path else None


def _points(fraction: float | None, sign: str = "") -> str:
    return "-" if fraction is None else f"{100 * fraction:{sign}.1f}"


def _name(row: ComparedRow) -> str:
    return ("* " if row["best"] else "  ") + str(row["name"])


def _interval(row: ComparedRow) -> str:
    return "-" if row["low"] is None else f"{_points(row['low'], '+')} to {_points(row['high'], '+')}"


def _of_results(compute: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Callable[[Any, Any], Any]:
    """A computation on an arm's results and the sweep's header, for arms that have results."""
    return lambda record, sweep: None if record["results"] is None else compute(record["results"], sweep)


def _code_bits(results: dict[str, Any], sweep: dict[str, Any]) -> int | None:
    codec, bytes_per_number = results["codec"], _at(sweep, "model.bytes_per_number")
    return codec and code_bits(bytes_per_number, codec["code_width"], codec["code_bits"])


class ComparisonColumn(NamedTuple):
    """A value of a row: where it stands in a record and in an analysis, and how the table shows it, if it does."""

    key: str
    record: str | Callable[[dict[str, Any], dict[str, Any]], Any]
    """Dotted path in a record, or what computes the value from a record and the sweep's header."""
    analysis: str
    """Dotted path in a row of an analysis."""
    head: str = ""
    """In the table, with braces for names of ``ComparedScores``; empty for what the table does not show."""
    cell: Callable[[ComparedRow], str] = lambda row: "-"
    sortable: bool = False


COLUMNS = (
    ComparisonColumn("run", lambda record, sweep: sweep["name"], "", "run", lambda row: row["run"]),
    ComparisonColumn("name", "name", "name", "configuration", _name),
    ComparisonColumn("kind", "kind", "kind"),
    ComparisonColumn("status", "status", "status"),
    ComparisonColumn("error", "error", "error"),
    ComparisonColumn("best", lambda record, sweep: False, "best"),
    ComparisonColumn(
        *("code_bits", _of_results(_code_bits), "code_bits", "bits"),
        cell=lambda row: "-" if row["code_bits"] is None else f"{row['code_bits']:,}",
        sortable=True,
    ),
    ComparisonColumn(
        *("positions", "results.prompts.positions", "prompt_costs.positions", "positions"),
        cell=lambda row: "-" if row["positions"] is None else f"{row['positions']:,.0f}",
        sortable=True,
    ),
    ComparisonColumn(
        *("params", _of_results(lambda results, _: sum(results["trainable_parameters"].values())), "params", "trained"),
        cell=lambda row: "-" if row["params"] is None else f"{row['params']:,}",
        sortable=True,
    ),
    ComparisonColumn(
        *("score", "results.test.score", "score", "{0.label}"),
        cell=lambda row: _points(row["score"]) if row["status"] == "done" else row["status"],
        sortable=True,
    ),
    ComparisonColumn(
        *("em", "results.test.exact_match", "em", "EM"),
        cell=lambda row: _points(row["em"]) if row["status"] == "done" else "",
        sortable=True,
    ),
    ComparisonColumn(
        *("difference", "", "score_difference.estimate", "vs base"),
        cell=lambda row: _points(row["difference"], "+"),
        sortable=True,
    ),
    ComparisonColumn("low", "", "score_difference.low", "interval", _interval),
    ComparisonColumn("high", "", "score_difference.high"),
    ComparisonColumn(
        *("p", "", "score_difference.p_adjusted", "p"),
        cell=lambda row: "-" if row["p"] is None else f"{row['p']:.4f}",
        sortable=True,
    ),
    ComparisonColumn("tier", "", "supported_tier", "tier", lambda row: row["tier"] or "-"),
    ComparisonColumn(
        *("selection_score", "results.selection.score", "selection_score", "{0.of_selection}"),
        cell=lambda row: _points(row["selection_score"]),
        sortable=True,
    ),
    ComparisonColumn(
        *("distinct", "results.test.degeneration.distinct_share", "degeneration.metrics.distinct_share", "unique"),
        cell=lambda row: "-" if row["distinct"] is None else f"{row['distinct']:.0%}",
        sortable=True,
    ),
    ComparisonColumn(
        *("minutes", lambda record, _: record["seconds_total"] / 60, "minutes", "min"),
        cell=lambda row: f"{row['minutes']:.1f}",
        sortable=True,
    ),
    ComparisonColumn("n", "results.test.n", "n"),
    ComparisonColumn("num_seeds", lambda record, sweep: 1, "num_seeds"),
    ComparisonColumn("raw_score", "results.test.raw_score", "raw_score"),
    ComparisonColumn("cosine", "results.reconstruction.overall.cosine", "cosine", sortable=True),
)

SORTABLE = tuple(column.key for column in COLUMNS if column.sortable)


class ResultsError(ValueError):
    """A file of a sweep that cannot be read, or is not what was written; the message names it."""


def load_rows(run: Path) -> list[ComparedRow]:
    """Read a row for each arm and control of a sweep's folder.

    Raises:
        ResultsError: a file is missing, damaged or of another sweep.
    """
    sweep_file = run / "sweep.json"
    if not os.path.lexists(sweep_file):
        hint = "; it is an arm's, so name the sweep's, which it lies in" if (run / "record.json").exists() else ""
        raise ResultsError(f"{run} is no sweep's folder: it has no sweep.json{hint}")
    sweep = _read(sweep_file)
    if missing := [key for key in ("name", "baseline", "planned", "finished_at") if key not in sweep]:
        raise ResultsError(f"{sweep_file} lacks {', '.join(missing)}")
    if not isinstance(sweep["planned"], dict) or not isinstance(sweep.get("model", {}), dict):
        raise ResultsError(f"{sweep_file}: planned and model must be objects")
    if _SEAL not in sweep:
        _note(f"{run} was made before files carried hashes of their content; damage to it is not checked")
    analysis_file = run / "analysis.json"
    if sweep["finished_at"] and os.path.lexists(analysis_file):
        analysis = _read(analysis_file, is_sealed=_SEAL in sweep)
        rows = _rows_of_analysis(analysis_file, analysis, sweep)
        if rows is not None:
            return _with_differences(rows, sweep["baseline"])
    return _rows_of_records(run, sweep)


def scores_of(*runs: Path) -> ComparedScores:
    """Read what the scores of sweeps are; those of several tasks have no name in common.

    Raises:
        ResultsError: as ``load_rows``.
    """
    headers = [_read(run / "sweep.json") for run in runs]
    # Earlier versions, which had one task, do not say which it is.
    labels = {inert(str(sweep.get("metric", "F1"))) for sweep in headers}
    shows_exact_match = all(str(sweep.get("task")) not in _WITHOUT_EXACT_MATCH for sweep in headers)
    return ComparedScores(labels.pop() if len(labels) == 1 else "score", shows_exact_match)


def warnings_of(*runs: Path) -> list[str]:
    """Say which sweeps tested on what they trained on; to stand above their tables.

    Raises:
        ResultsError: as ``load_rows``.
    """
    headers = [_read(run / "sweep.json") for run in runs]
    shared = [(str(sweep["name"]), sweep.get("shared_paragraphs")) for sweep in headers]
    said = [(name, overlap(number)) for name, number in shared if isinstance(number, int)]
    return [f"{f'{name}: ' if len(runs) > 1 else ''}{what}" for name, what in said if what]


def has_ended(run: Path) -> bool:
    """Whether a sweep has ended, so that no row is missing.

    Raises:
        ResultsError: as ``load_rows``.
    """
    return bool(_read(run / "sweep.json").get("finished_at"))


def limits(rows: list[ComparedRow]) -> list[str]:
    """Say what the intervals of a table cover badly and not at all; nothing where there are none."""
    arms = [row for row in rows if row["kind"] == "arm" and row["params"] != 0 and row["num_seeds"]]
    if not arms or all(row["low"] is None for row in rows):
        return []
    few = few_seeds(row["num_seeds"] for row in arms)
    return [*([few] if few else []), FIXED]


_SEAL = "content_sha256"
"""The entry of a file that holds the hash of all its other entries, as compact JSON with sorted keys."""


_LARGEST = 1 << 31
"""Bytes of the largest file that is read."""


def _read(file: Path, *, is_sealed: bool = False) -> dict[str, Any]:
    """Read a JSON object, checking the hash of its content if it has one, or must have one (``is_sealed``)."""
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe in its place must not be waited for
        with os.fdopen(handle, "rb") as opened:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ResultsError(f"{file} is no regular file")
            if os.fstat(handle).st_size > _LARGEST:
                raise ResultsError(f"{file} has more than {_LARGEST:,} bytes")
            text = opened.read().decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        content = {key: one for key, one in value.items() if key != _SEAL} if isinstance(value, dict) else None
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        found = hashlib.sha256(canonical.encode()).hexdigest()
    except ResultsError:
        raise
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{file} is no complete JSON ({error})") from None
    except OSError as error:
        raise ResultsError(f"{file} cannot be read ({error.strerror})") from None
    if content is None:
        raise ResultsError(f"{file} holds no JSON object")
    needs_hash = is_sealed or value.get("files") is not None or value.get("format") == 3
    if value.get(_SEAL, None if needs_hash else found) != found:
        raise ResultsError(f"{file} is damaged: its content does not have the hash that it was written with ({_SEAL})")
    return dict(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _rows_of_analysis(file: Path, analysis: dict[str, Any], sweep: dict[str, Any]) -> list[ComparedRow] | None:
    """Rows of an analysis; None if it is of an earlier part of the sweep, which was resumed since."""
    try:
        of = analysis["sweep"]
        if any(of[key] != sweep[key] for key in ("name", "started_at") if key in sweep):
            raise ResultsError(f"{file} is of another sweep ({of['name']}, {of['started_at']}); write the reports anew")
        if of["finished_at"] != sweep["finished_at"]:
            return None
        rows = [{column.key: _at(row, column.analysis) for column in COLUMNS} for row in analysis["rows"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ResultsError(f"{file} is no complete analysis ({type(error).__name__}: {error})") from None
    return [_checked({**row, "run": sweep["name"]}, file) for row in rows]


def _rows_of_records(run: Path, sweep: dict[str, Any]) -> list[ComparedRow]:
    planned = {name: (run if kind == "arm" else run / "controls") / name for name, kind in sweep["planned"].items()}
    here = [folder for folder in planned.values() if os.path.lexists(folder / "record.json")]
    found = sorted(file.parent for pattern in ("*", "controls/*") for file in run.glob(f"{pattern}/record.json"))
    read = [_read_row(folder / "record.json", run, sweep) for folder in dict.fromkeys([*here, *found])]
    rows = [row for row, _ in read]
    if not any(saves for _, saves in read):  # as in an analysis
        for row in rows:
            row["positions"] = None
    missing = sorted(planned.keys() - {folder.name for folder in here})
    if sweep["finished_at"] and missing:
        _note(f"{run} has no record of {', '.join(missing)}")
    best = best_arm(rows)
    if best:
        best["best"] = True
    return _with_differences(rows, sweep["baseline"])


def _with_differences(rows: list[ComparedRow], baseline_name: str) -> list[ComparedRow]:
    """Fill in what lacks a difference to the baseline: controls, and arms without an analysis."""
    baseline = next((row for row in rows if row["name"] == baseline_name and row["score"] is not None), None)
    for row in rows:
        if baseline and row is not baseline and row["score"] is not None and row["difference"] is None:
            row["difference"] = row["score"] - baseline["score"]
    return rows


def _read_row(file: Path, run: Path, sweep: dict[str, Any]) -> tuple[ComparedRow, bool]:
    """Read the row of a record, and whether its prompts take fewer positions than their texts have tokens."""
    if not file.resolve().is_relative_to(run.resolve()):
        raise ResultsError(f"{file} leads to {file.resolve()}, outside of {run}")
    record = _read(file)
    try:
        row = {
            column.key: _at(record, column.record) if isinstance(column.record, str) else column.record(record, sweep)
            for column in COLUMNS
        }
        saves = _saves_positions(record["config"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ResultsError(f"{file} is no complete record ({type(error).__name__}: {error})") from None
    kind = "control" if file.parent.parent.name == "controls" else "arm"
    if (row["name"], row["kind"]) != (file.parent.name, kind):
        raise ResultsError(f"{file} is the record of {row['kind']} {row['name']}, expected {kind} {file.parent.name}")
    return _checked(row, file), saves


def _saves_positions(config: dict[str, Any]) -> bool:
    is_cut = config.get("context", True) and config.get("prompt", {}).get("context_share", 1) < 1
    return bool(config.get("input") == "blocks" or is_cut)


_TEXTS = {"run": False, "name": False, "kind": False, "status": False, "error": True, "tier": True}
"""Columns of texts, and whether they may be null."""


def _checked(row: ComparedRow, file: Path) -> ComparedRow:
    """Refuse a row that holds something else than its columns' texts and numbers."""
    needed = {"minutes", *(("score", "em", "selection_score") if row["status"] == "done" else ())}
    for key, value in row.items():
        if key == "best":
            is_right = isinstance(value, bool)
        elif key in _TEXTS:
            is_right = isinstance(value, str) or (value is None and _TEXTS[key])
        else:
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            is_right = (is_number and math.isfinite(value)) or (value is None and key not in needed)
        if not is_right:
            raise ResultsError(f"{file}: {key} of {row['name']!r} is {value!r}")
    return row


def best_arm(rows: list[ComparedRow]) -> ComparedRow | None:
    """The arm with the highest selection score (the first of equals), or None: the test split never chooses."""
    arms = [row for row in rows if row["kind"] == "arm" and row["status"] == "done"]
    return max(arms, key=lambda row: row["selection_score"], default=None)


def sort_rows(rows: list[ComparedRow], column: str) -> list[ComparedRow]:
    """Rows by a column, highest first; rows without a value come last."""
    return sorted(rows, key=lambda row: (row[column] is None, -(row[column] or 0)))


def format_table(
    rows: list[ComparedRow], scores: ComparedScores = OF_SQUAD, *, show_run: bool = False, without: Iterable[str] = ()
) -> str:
    """Rows as lines of text, columns aligned; arguments as in ``table_cells``."""
    return aligned(table_cells(rows, scores, show_run=show_run, without=without), left=2 if show_run else 1)


def aligned(lines: list[list[str]], *, left: int) -> str:
    """Lines of cells as text; all columns but the first ``left`` are aligned to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        " ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))  # noqa: B905 - strict= needs Python 3.10
        ).rstrip()
        for line in lines
    )


def table_cells(
    rows: list[ComparedRow], scores: ComparedScores = OF_SQUAD, *, show_run: bool = False, without: Iterable[str] = ()
) -> list[list[str]]:
    """Write a header and a line for each row. Scores are points (0 to 100); ``*`` marks the arm that selection chose.
    Where codes differ in size, there is a column for it: bits a token; where prompts take fewer positions than their
    texts have tokens, one for those.

    Args:
        without: keys of columns to be left out.
    """
    codes_differ = len({row["code_bits"] for row in rows if row["code_bits"] is not None}) > 1
    hidden = {*(() if codes_differ else ("code_bits",)), *(() if show_run else ("run",))}
    hidden |= {*without, *(("positions",) if all(row["positions"] is None for row in rows) else ())}
    hidden |= set() if scores.shows_exact_match else {"em"}
    columns = [column for column in COLUMNS if column.head and column.key not in hidden]
    heads = [column.head.format(scores) for column in columns]
    return [heads, *([column.cell(row) for column in columns] for row in rows)]


def format_csv(rows: list[ComparedRow]) -> str:
    """Rows as CSV with a header; metrics as fractions, empty where there is none.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _csv_value(value) for key, value in row.items()} for row in rows)
    return text.getvalue().rstrip("\n")


def _csv_value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return ("'" if value.lstrip()[:1] in tuple("=+-@") else "") + inert(value)


_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, which a terminal obeys, and characters that turn the direction of the text around them."""


def inert(text: str) -> str:
    """Write control characters of ``text`` as escapes such as ``\\x1b``; tabs and line ends stay."""
    return _ACTIVE.sub(lambda found: repr(found[0])[1:-1], text)


def main(arguments: list[str] | None = None) -> int:
    """Print the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare the arms of finished sweeps.")
    parser.add_argument("runs", nargs="*", type=Path, help="sweep folders (default: where this file lies)")
    parser.add_argument("--sort", choices=SORTABLE, default="score", help="column to sort by, highest first")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the rows as JSON, metrics as fractions")
    form.add_argument("--csv", action="store_true", help="print the rows as CSV, metrics as fractions")
    options = parser.parse_args(arguments)
    runs = options.runs or [Path(__file__).resolve().parent]
    try:
        rows = sort_rows([row for run in runs for row in load_rows(run)], options.sort)
        scores, warnings = scores_of(*runs), warnings_of(*runs)
    except ResultsError as error:
        print(inert(f"cannot read the results: {error}"), file=sys.stderr)
        return 1
    if options.json:
        text = json.dumps(rows, indent=2)
    elif options.csv and rows:
        text = format_csv(rows)
    else:
        text = _text(rows, scores, warnings, show_run=len(runs) > 1)
    try:
        print(text if options.json else inert(text), flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = None
    return 0


def _text(rows: list[ComparedRow], scores: ComparedScores, warnings: list[str], *, show_run: bool) -> str:
    arms = [row for row in rows if row["kind"] == "arm"]
    controls = [row for row in rows if row["kind"] == "control"]
    parts = ["\n".join(f"Warning: {one}." for one in warnings)] if warnings else []
    parts.append(format_table(arms, scores, show_run=show_run) if arms else "no arm is finished yet")
    if controls:
        parts.append("Controls\n" + format_table(controls, scores, show_run=show_run))
    return "\n\n".join([*parts, "\n".join([legend(scores), *(f"Note: {one}." for one in limits(rows))])])


if __name__ == "__main__":
    try:
        code: int | str = main()
    except OSError as error:  # a full disk, where the output is a file
        sys.stdout = None
        code = f"cannot print the results: {error.strerror or error}"
    sys.exit(code)
