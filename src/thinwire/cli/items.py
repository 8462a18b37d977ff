"""The command that judges results of other tools, and what ``compare`` does with them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from thinwire.cli.arguments import Command
from thinwire.cli.options import AsJson
from thinwire.errors import UsageError
from thinwire.inputs import check_path
from thinwire.report.compare import format_csv
from thinwire.results.layout import HEADER_FILE

if TYPE_CHECKING:  # numpy and scipy take a moment to import, so commands import them only if needed
    from thinwire.items.comparison import ItemComparison

items_app = typer.Typer()

Metric = Annotated[str | None, typer.Option(help="Items: which score, where there are several; a column, or a name.")]
Task = Annotated[
    str | None, typer.Option(help="Items: which task of an lm-eval folder; a pattern takes several ('mmlu_*').")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        help="Items: what says which of them belong together: a column [default: cluster, where there is one], a field "
        "of lm-eval's documents, or a key of Inspect's metadata."
    ),
]
ScaleText = Annotated[
    str | None, typer.Option("--scale", metavar="LOW:HIGH", help="Items: range of the scores. [default: 0:1]")
]
LowerIsBetter = Annotated[bool, typer.Option("--lower-is-better", help="Items: a lower score is better.")]
Marginal = Annotated[
    float | None, typer.Option(help="Items: least gain that counts, in hundredths of the scale. [default: 2]")
]
Significant = Annotated[float | None, typer.Option(help="Items: least gain of the tier significant. [default: 5]")]
Strong = Annotated[float | None, typer.Option(help="Items: least gain of the tier strong. [default: 10]")]
Confidence = Annotated[
    float | None, typer.Option(help="Items: of all intervals together, from 0.5 to below 1. [default: 0.95]")
]


@items_app.command(cls=Command)
def verdict(
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="BASELINE TREATMENT...",
            help="Files of scores, each a path or NAME=PATH: .jsonl or .csv with id and score, samples or the folder "
            "of lm-eval, .eval or .json of Inspect, the folder of an arm. The first is the baseline; files of one name "
            "are its seeds.",
        ),
    ],
    metric: Metric = None,
    task: Task = None,
    cluster: Cluster = None,
    scale: ScaleText = None,
    lower_is_better: LowerIsBetter = False,
    marginal: Marginal = None,
    significant: Significant = None,
    strong: Strong = None,
    confidence: Confidence = None,
    as_json: AsJson = False,
) -> None:
    """Judge results of any tool by the scores of their items: paired, clustered, corrected for their number."""
    from thinwire.report.item_tables import item_record, item_verdicts

    for one in results:
        if is_sweep(one):
            raise UsageError(f"{one} is the folder of a sweep; `thinwire report {one}` writes its verdict")
    options = ItemOptions(metric, task, cluster, scale, lower_is_better, marginal, significant, strong, confidence)
    found = compared(results, options)
    typer.echo(json.dumps(item_record(found), indent=2) if as_json else item_verdicts(found))


class ItemOptions(NamedTuple):
    """The options of items, as they were given."""

    metric: str | None
    task: str | None
    cluster: str | None
    scale: str | None
    lower_is_better: bool
    marginal: float | None
    significant: float | None
    strong: float | None
    confidence: float | None

    def refuse(self) -> None:
        """Refuse options that have no effect on sweeps.

        Raises:
            UsageError: any of them is given.
        """
        given = [name for name, value in self._asdict().items() if value is not None and value is not False]
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')} is for files of scores, and these are folders of sweeps")


def compared(results: Sequence[str], options: ItemOptions) -> ItemComparison:
    """Compare files of scores.

    Raises:
        UsageError: as ``compare_items``, or an option has another form.
    """
    from thinwire.config.settings import VerdictConfig
    from thinwire.items.comparison import Scale, compare_items
    from thinwire.items.item_scores import Choice
    from thinwire.items.labels import labelled
    from thinwire.schema import build

    wanted = {name: getattr(options, name) for name in ("marginal", "significant", "strong", "confidence")}
    settings = build(VerdictConfig, {name: value for name, value in wanted.items() if value is not None}, where="")
    scale = Scale.of(options.scale or "0:1", lower_is_better=options.lower_is_better)
    choice = Choice(metric=options.metric, task=options.task, cluster=options.cluster)
    return compare_items(labelled(results), choice, scale, settings)


def is_sweep(argument: str) -> bool:
    """Whether an argument is the folder of a sweep.

    Raises:
        UsageError: it cannot be the path of anything.
    """
    return os.path.lexists(check_path(argument, "result") / HEADER_FILE)


def are_items(arguments: Sequence[str]) -> bool:
    """Whether the arguments are files of scores or folders of arms, and not folders of sweeps; a single arm's is taken
    for a mistake.

    Raises:
        UsageError: they are both.
    """
    from thinwire.items.arm_folder import is_arm_folder
    from thinwire.items.formats import may_be_scores
    from thinwire.items.labels import split_label

    if len(arguments) == 1 and is_arm_folder(check_path(arguments[0], "result")):
        return False
    items = [one for one in arguments if not is_sweep(one) and may_be_scores(split_label(one)[1])]
    sweeps = [one for one in arguments if is_sweep(one)]
    if items and sweeps:
        raise UsageError(f"{sweeps[0]} is the folder of a sweep and {items[0]} is not; compare one kind at a time")
    return bool(items)


def print_items(results: Sequence[str], options: ItemOptions, *, as_json: bool, as_csv: bool) -> None:
    """Print the table of ``compare`` for files of scores."""
    from thinwire.report.item_tables import item_record, item_rows, item_table

    found = compared(results, options)
    if as_json:
        typer.echo(json.dumps(item_record(found), indent=2))
    elif as_csv:
        typer.echo(format_csv(item_rows(found)))
    else:
        typer.echo(item_table(found))
