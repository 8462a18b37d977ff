"""The arms: against each other, and as a table with every figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thinwire.report.figures import data, forest
from thinwire.report.numbers import decimal, interval, p_value, percent, plain, points, signed, whole
from thinwire.report.page.markup import Cell, Column, figure, paragraph, section, table, text
from thinwire.report.page.verdict import NARROW, WIDE

Analysis = Mapping[str, Any]

_COLUMNS = [
    Column(name="configuration", numeric=False),
    Column(name="F1", hint="official SQuAD F1 on the test questions, points"),
    Column(name="EM", hint="official exact match on the test questions, points"),
    Column(name="ΔF1", hint="difference to the baseline, points"),
    Column(name="interval", hint="simultaneous over all arms, points"),
    Column(name="p", hint="adjusted for all arms (Holm)"),
    Column(name="observed", numeric=False, hint="tier of the point estimate"),
    Column(name="supported", numeric=False, hint="highest tier that the interval's lower end reaches"),
    Column(name="questions needed", hint="test questions that would resolve the tier"),
    Column(name="ΔEM", hint="difference to the baseline, points"),
    Column(name="interval", hint="simultaneous over all arms, points"),
    Column(name="of ceiling", hint="share of the way from codes alone to text + LoRA"),
    Column(name="selection F1", hint="on held-out training articles; chooses epoch and best arm"),
    Column(name="cosine", hint="of rebuilt and true embeddings, weighted by use"),
    Column(name="rank"),
    Column(name="alpha"),
    Column(name="layers"),
    Column(name="trained", hint="trainable parameters, adapter and LoRA"),
    Column(name="minutes"),
]


def arms(analysis: Analysis) -> str:
    """Forest plot and table."""
    found = data.forest(analysis)
    if found is None:
        drawn = paragraph("No arm has a difference to the baseline, so there is nothing to compare.", "empty")
    else:
        caption = (
            f"Thin lines: {found.confidence} intervals that hold for all arms at once; thick: for one arm alone. "
            "Shaded: "
            + ", ".join(f"{name} from {signed(value)}" for name, value in found.thresholds)
            + ". The diamond is the arm chosen on the selection split."
        )
        drawn = figure(forest.TITLE, caption, forest.draw(found, WIDE), forest.draw(found, NARROW))
    asked = "Did LoRA help?" if analysis["verdict"]["about_lora"] else "The arms against the baseline"
    return section("arms", asked, drawn, _table(analysis))


def _table(analysis: Analysis) -> str:
    rows = sorted(analysis["rows"], key=lambda row: (row["kind"] != "arm", row["f1"] is None, -(row["f1"] or 0)))
    caption = (
        "All figures. F1, EM and their differences are points (0 to 100) on the test questions; ◆ marks the arm chosen "
        "on the selection split. "
        f"Intervals hold at {data.confidence(analysis)} for all arms at once. A column's heading sorts by it."
    )
    written = [(f"{row['kind']}{' chosen' if row['best'] else ''}", _cells(row)) for row in rows]
    return table(_COLUMNS, written, caption, "sortable")


def _cells(row: data.Row) -> list[Cell]:
    f1, em, share = row["f1_difference"] or {}, row["em_difference"] or {}, row["share_of_ceiling"] or {}
    name = text(row["name"]) + (' <span class="chosen-mark">◆</span>' if row["best"] else "")
    name += f" <small>{text(row['kind'])}</small>" if row["kind"] == "control" else ""
    layers = row["layers"] if row["num_layers"] is None or row["layers"] == row["num_layers"] else row["num_layers"]
    status = "" if row["status"] == "done" else f"<em>{text(row['status'])}</em>"
    return [
        Cell(markup=name, value=row["name"], key="name"),
        _number(row, "f1", status or points(row["f1"])),
        _number(row, "em", points(row["em"])),
        _difference(f1, "f1_difference"),
        _ends(f1, "f1_difference"),
        Cell(markup=text(p_value(f1.get("p_adjusted"))), value=f1.get("p_adjusted"), key="f1_difference.p_adjusted"),
        Cell(markup=text(row["observed_tier"]), value=row["observed_tier"], key="observed_tier"),
        Cell(markup=text(row["supported_tier"]), value=row["supported_tier"], key="supported_tier"),
        _number(row, "questions_needed", whole(row["questions_needed"])),
        _difference(em, "em_difference"),
        _ends(em, "em_difference"),
        _share(share),
        _number(row, "selection_f1", points(row["selection_f1"])),
        _number(row, "cosine", decimal(row["cosine"])),
        _number(row, "rank", plain(row["rank"] or None)),
        _number(row, "alpha", plain(row["alpha"] if row["rank"] else None)),
        _number(row, "num_layers", plain(layers if row["rank"] else None)),
        _number(row, "params", whole(row["params"])),
        _number(row, "minutes", decimal(row["minutes"], 1)),
    ]


def _number(row: data.Row, key: str, markup: str) -> Cell:
    return Cell(markup=markup, value=row[key], key=key)


def _difference(found: Mapping[str, Any], key: str) -> Cell:
    """A difference, or the stated reason why there is none."""
    estimate = found.get("estimate")
    if estimate is None and found.get("outcome"):
        return Cell(markup=f"<em>{text(found['outcome'])}</em>", key=key)
    hint = f' <small title="{text(found["outcome"])}">*</small>' if found.get("outcome") else ""
    return Cell(markup=signed(estimate) + hint, value=estimate, key=f"{key}.estimate")


def _ends(found: Mapping[str, Any], key: str) -> Cell:
    low, high = found.get("low"), found.get("high")
    return Cell(markup=interval(low, high), value=low, key=f"{key}.low")


def _share(share: Mapping[str, Any]) -> Cell:
    markup = percent(share.get("estimate"))
    if share.get("low") is not None and share.get("high") is not None:
        markup += f" <small>[{percent(share['low'])}, {percent(share['high'])}]</small>"
    return Cell(markup=markup, value=share.get("estimate"), key="share_of_ceiling.estimate")
