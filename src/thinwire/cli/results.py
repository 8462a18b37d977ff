"""The commands that read results and train nothing: from score and compare to publish and postprocess."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from thinwire.cli.arguments import Command, existing, existing_folder, output_file, output_folder
from thinwire.cli.items import (
    Cluster,
    Confidence,
    ItemOptions,
    LowerIsBetter,
    Marginal,
    Metric,
    ScaleText,
    Significant,
    Strong,
    Task,
    are_items,
    print_items,
)
from thinwire.cli.options import (
    AsJson,
    Columns,
    Mismatched,
    Unanswerable,
    chosen_columns,
    console,
    make_console,
    mismatched_choice,
    unanswerable_choice,
)
from thinwire.errors import UsageError, shown
from thinwire.report import compare as compare_report
from thinwire.tasks.squad_metric import score as score_predictions

if TYPE_CHECKING:
    from thinwire.results.read import Results

results_app = typer.Typer()

Sweep = Annotated[
    Path, typer.Argument(help="The folder of a finished sweep.", callback=existing_folder("folder of a finished sweep"))
]
Source = Annotated[
    Path,
    typer.Argument(
        help="The folder of a finished sweep, or a sweep record of `publish`.",
        callback=existing("folder of a finished sweep, or a sweep record"),
    ),
]


@results_app.command(cls=Command)
def score(
    predictions: Annotated[Path, typer.Argument(help="Official format: a JSON object {question id: answer}.")],
    data: Annotated[str, typer.Argument(help="squad, a data file, or a Hugging Face dataset.")],
    unanswerable: Unanswerable = "refuse",
    mismatched: Mismatched = "refuse",
    columns: Columns = None,
    as_json: AsJson = False,
) -> None:
    """Score a predictions file with SQuAD's official metric, in percent. Questions without an answer count as 0."""
    from thinwire.data.sources import check_columns_apply, load_questions
    from thinwire.evaluation.predictions_file import read_predictions

    answers, named = read_predictions(predictions), chosen_columns(columns)
    check_columns_apply(named, data)
    examples = load_questions(data, "test", unanswerable_choice(unanswerable), mismatched_choice(mismatched), named)
    scores = score_predictions(answers, {example.id: example.answers for example in examples})
    percent = {"exact_match": 100 * scores.exact_match, "f1": 100 * scores.f1, "total": scores.total}
    if answers and scores.missing == scores.total:
        raise UsageError(
            f"no answer of {predictions} is for a question of {data}: it answers {shown(next(iter(answers)))}, and the "
            f"first question there is {shown(examples[0].id)}; name the data that the answers are for"
        )
    if scores.missing:
        console.print(f"{scores.missing} of {scores.total} questions have no prediction and count as 0")
    if strangers := len(answers) + scores.missing - scores.total:
        console.print(f"{strangers} of {len(answers)} predictions are for no question of the data, and do not count")
    if as_json:
        typer.echo(json.dumps(percent))
    else:
        typer.echo(f"EM {percent['exact_match']:.2f}  F1 {percent['f1']:.2f}  {scores.total} questions")


@results_app.command("compare", cls=Command)
def compare_sweeps(
    results: Annotated[
        list[str],
        typer.Argument(help="Folders of sweeps; or files of scores as for `verdict`, the baseline first."),
    ],
    sort: Annotated[
        str | None,
        typer.Option(help=f"Sweeps: column, one of {', '.join(compare_report.SORTABLE)}. [default: score]"),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV to standard output.")] = False,
    metric: Metric = None,
    task: Task = None,
    cluster: Cluster = None,
    scale: ScaleText = None,
    lower_is_better: LowerIsBetter = False,
    marginal: Marginal = None,
    significant: Significant = None,
    strong: Strong = None,
    confidence: Confidence = None,
) -> None:
    """Compare the arms of one or more sweeps, or results of any tool by the scores of their items, in a table."""
    if as_json and as_csv:
        raise UsageError("--json and --csv are two forms of the same table; give one of them")
    options = ItemOptions(metric, task, cluster, scale, lower_is_better, marginal, significant, strong, confidence)
    if are_items(results):
        if sort is not None:
            raise UsageError("--sort is for sweeps; files of scores are listed in the order given")
        print_items(results, options, as_json=as_json, as_csv=as_csv)
        return
    runs = [Path(one) for one in results]
    existing_folder("folder of a sweep")(runs)
    options.refuse()
    sort = sort or "score"
    if sort not in compare_report.SORTABLE:
        raise UsageError(f"--sort takes one of {', '.join(compare_report.SORTABLE)}, got {sort!r}")
    if sys.stdout is not None and sys.stdout.isatty() and not as_json and not as_csv:
        _print_tables(runs, sort)
        return
    flags = [*(["--json"] if as_json else []), *(["--csv"] if as_csv else [])]
    # The script's 1 is a request that cannot be carried out: there is no other way for it to fail.
    raise typer.Exit(2 if compare_report.main([*map(str, runs), "--sort", sort, *flags]) else 0)


def _print_tables(runs: list[Path], sort: str) -> None:
    """The comparison on a terminal: the same rows and texts, in colour."""
    try:
        rows = compare_report.sort_rows([row for run in runs for row in compare_report.load_rows(run)], sort)
        scores, warnings = compare_report.scores_of(*runs), compare_report.warnings_of(*runs)
    except compare_report.ResultsError as error:
        raise UsageError(str(error)) from None
    screen = make_console()
    for one in warnings:
        screen.print(escape(f"Warning: {one}."), style="yellow", highlight=False)
    for kind, title in (("arm", "Arms"), ("control", "Controls")):
        chosen = [row for row in rows if row["kind"] == kind]
        if not chosen:
            continue
        header, *lines = compare_report.table_cells(chosen, scores, show_run=len(runs) > 1)
        drawn = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
        for name in header:
            drawn.add_column(
                escape(name), justify="left" if name in ("run", "configuration") else "right", no_wrap=True
            )
        for row, cells in zip(chosen, lines, strict=True):
            drawn.add_row(*map(escape, cells), style="bold" if row["best"] else _COLOURS.get(row["tier"]))
        screen.print(drawn)
    screen.print(compare_report.legend(scores), style="dim", highlight=False)
    for one in compare_report.limits(rows):
        screen.print(escape(f"Note: {one}."), style="dim", highlight=False)


_COLOURS = {
    "strong": "green",
    "significant": "green",
    "marginal": "cyan",
    "slight": "cyan",
    "unresolved": "yellow",
    "no help": "red",
    "harm": "red",
}


@results_app.command(cls=Command)
def best(run: Sweep, as_json: AsJson = False) -> None:
    """Name the arm that the selection split chose, with its test results."""
    try:
        rows, scores = compare_report.load_rows(run), compare_report.scores_of(run)
    except compare_report.ResultsError as error:
        raise UsageError(str(error)) from None
    row = next((row for row in rows if row["best"]), None)
    if row is None:
        raise UsageError(f"{run} has no arm that is done")
    if not compare_report.has_ended(run):
        console.print(
            f"{run} is not finished: this is the best of the arms that are done", markup=False, soft_wrap=True
        )
    if as_json:
        typer.echo(json.dumps(row))
        return
    gain = "" if row["difference"] is None else f", {100 * row['difference']:+.1f} to the baseline"
    if row["low"] is not None:
        gain += f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f}; {row['tier']})"
    exact = f", EM {100 * row['em']:.1f}" if scores.shows_exact_match else ""
    typer.echo(f"{row['name']}: {scores.label} {100 * row['score']:.1f}{exact}{gain}")


@results_app.command(cls=Command)
def report(
    run: Sweep,
    into: Annotated[
        Path | None,
        typer.Option(
            help="Also put the Markdown section into this file, between markers of its own.",
            callback=output_file("Markdown file"),
        ),
    ] = None,
) -> None:
    """Write report.html, report.md, sweep_summary.txt and analysis.json of a finished sweep."""
    from thinwire.report.markdown.insert import insert, inserted
    from thinwire.report.write import write_reports
    from thinwire.results.read import read_results

    results = read_results(run)
    name = results.sweep.name
    if into is not None:
        inserted(into, name, "")  # refused before anything is written
    write_reports(results)
    typer.echo(run / "report.html")
    if into is not None:
        replaced = insert(into, name, (run / "report.md").read_text(encoding="utf-8"))
        typer.echo(f"{into}: section of {name} {'replaced' if replaced else 'added at the end'}")


@results_app.command(cls=Command)
def publish(
    source: Source,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Write the record, a small JSON file, here.",
            callback=output_file("sweep record"),
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.md",
            help="Put the section into this file, between markers of its own.",
            callback=output_file("Markdown file"),
        ),
    ] = None,
    short: Annotated[
        bool, typer.Option("--short", help="The short section: the chosen arm, the baseline and the controls.")
    ] = False,
    command: Annotated[
        str | None, typer.Option(help="What was typed to run the sweep, to be shown; its folder does not hold it.")
    ] = None,
) -> None:
    """Publish a sweep: a sweep record, which is a small JSON file of its results, and a Markdown section made from it.

    Without --record and --into, the section is printed. The markers are named after the record's file, so that a text
    can hold several sweeps of one name; without a record, after the sweep.
    """
    from thinwire.report.analysis import analyse
    from thinwire.report.markdown.insert import insert, inserted
    from thinwire.report.markdown.results_section import section, short_section
    from thinwire.report.markdown.sweep_record import earlier_command, read_sweep_record, write_sweep_record

    if short and record is not None and into is None:
        raise UsageError(
            "--short says which section is printed or put into a file: add --into FILE.md, or leave it out"
        )
    if record is not None and into is not None and record.resolve() == into.resolve():
        raise UsageError(f"--record and --into both name {record}; name two files")
    found = read_sweep_record(source) if source.is_file() else analyse(_finished(source))
    if command is None and record is not None and record.is_file():
        command = earlier_command(record, found)  # what was said of this sweep once need not be said again
    if command is not None:
        found = found.model_copy(update={"command": command})
    text = short_section(found) if short else section(found)
    file = record or (source if source.is_file() else None)
    name = f"{'short ' if short else ''}results {file.stem if file else found.sweep.name}"
    if into is not None:
        inserted(into, name, text)  # refused before anything is written
    if record is not None:
        write_sweep_record(record, found)
        typer.echo(record)
        found = read_sweep_record(record)  # rounded, so that the record gives the same section ever after
        text = short_section(found) if short else section(found)
    if into is not None:
        typer.echo(f"{into}: section {name} {'replaced' if insert(into, name, text) else 'added at the end'}")
    elif record is None:
        typer.echo(text, nl=False)


def _finished(run: Path) -> Results:
    from thinwire.results.read import read_results

    return read_results(run)


@results_app.command(cls=Command)
def plot(
    source: Source,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder [default: RUN/figures; beside a record, of its name].",
            callback=output_folder("folder of the figures"),
        ),
    ] = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="svg, png or pdf; may be repeated. [default: svg and png]")
    ] = None,
) -> None:
    """Write the report's figures as files for papers (PNG and PDF need the extra `plots`).

    A record has neither training curves nor reconstruction by token frequency: for those, name the sweep's folder.
    """
    from thinwire.report.analysis import analyse
    from thinwire.report.figures.files import write_figures
    from thinwire.report.markdown.sweep_record import read_sweep_record
    from thinwire.report.series import NO_SERIES, collect

    if source.is_file():
        analysis, series, folder = read_sweep_record(source), NO_SERIES, source.with_suffix("")
    else:
        results = _finished(source)
        analysis, folder = analyse(results), source / "figures"
        series = collect(results, analysis)
    for path in write_figures(analysis, series, output or folder, formats or ("svg", "png")):
        typer.echo(path)


@results_app.command(cls=Command)
def postprocess(run: Sweep, as_json: AsJson = False) -> None:
    """Score extractors (first line, first clause, ...) on the answers of every arm and control of a sweep.

    Scores are means over an arm's seeds. A gain that the uncompressed controls show too is one of format, not of
    understanding.
    """
    from thinwire.evaluation.extractors import EXTRACTED, mean_extractor_scores
    from thinwire.results.read import read_results
    from thinwire.tasks.table import TASKS

    results = read_results(run)
    groups, task = results.groups, TASKS[results.sweep.task]
    if task.metric not in EXTRACTED:
        raise UsageError(
            f"{run} is scored by {task.label} (task {task.name}); extractors are scored by F1 and EM, on answers that "
            "are decoded"
        )
    scores = {name: mean_extractor_scores([one.predictions for one in runs]) for name, runs in groups.items()}
    if as_json:
        typer.echo(json.dumps({name: {k: s.as_dict() for k, s in found.items()} for name, found in scores.items()}))
        return
    names = list(next(iter(scores.values())))
    width = max(map(len, scores))
    typer.echo("F1 in points".ljust(width) + "".join(f"  {name:>19}" for name in names))
    for arm, found in scores.items():
        typer.echo(arm.ljust(width) + "".join(f"  {100 * found[name].f1:>19.1f}" for name in names))
