"""The arms: against each other, and as tables with every metric."""

from __future__ import annotations

from thinwire.report import interaction_table
from thinwire.report.analysis_record import Analysis
from thinwire.report.caveats import BELOW_TIERS, CEILING_SCALE
from thinwire.report.figures import forest, gains
from thinwire.report.figures.data.rows import confidence
from thinwire.report.formatting import MISSING, decimal, interval, p_value, percent, plain, points, signed, whole
from thinwire.report.html.markup import HtmlCell, HtmlColumn, figure, paragraph, section, table, text
from thinwire.report.rows import AnalysisRow, Difference, ShareOfCeiling
from thinwire.report.score_words import begins, is_squad
from thinwire.tasks.task import Task

_NAME = HtmlColumn(name="configuration", numeric=False)
_COMPARISON = [
    HtmlColumn(name="interval", hint="simultaneous over all arms, points"),
    HtmlColumn(name="p", hint="adjusted for all arms (Holm)"),
    HtmlColumn(name="observed", numeric=False, hint="tier of the point estimate"),
    HtmlColumn(
        name="supported",
        numeric=False,
        hint=f"highest tier that the interval's lower end reaches; {BELOW_TIERS}",
    ),
    HtmlColumn(name="questions needed", hint="test questions that would resolve the tier"),
    HtmlColumn(name="of ceiling", hint=f"share of the ceiling: {CEILING_SCALE}"),
    HtmlColumn(name="interval", hint="of the share of the ceiling"),
]
_DETAILS = [
    HtmlColumn(name="cosine", hint="of rebuilt and true embeddings, weighted by use"),
    HtmlColumn(name="rank"),
    HtmlColumn(name="alpha"),
    HtmlColumn(name="layers"),
    HtmlColumn(name="trained", hint="trainable parameters, adapter and LoRA"),
    HtmlColumn(name="minutes"),
]


def arms_section(analysis: Analysis) -> str:
    """Forest plot and tables."""
    found = forest.figure(analysis)
    empty = paragraph("No arm has a difference to the baseline, so there is nothing to compare.", "empty")
    asked = "What LoRA gains" if analysis.verdict.about_lora else "The arms against the baseline"
    return section("arms", asked, figure(found) if found else empty, _tables(analysis), _interactions(analysis))


def _score_columns(task: Task) -> list[HtmlColumn]:
    official = "official SQuAD " if is_squad(task) else ""
    return [
        _NAME,
        HtmlColumn(name=task.label, hint=f"{official}{task.label} on the test questions, points"),
        HtmlColumn(name=f"Δ{task.label}", hint="difference to the baseline, points"),
        *_COMPARISON,
    ]


def _detail_columns(task: Task) -> list[HtmlColumn]:
    official = "official " if is_squad(task) else ""
    exact = [
        HtmlColumn(name="EM", hint=f"{official}exact match on the test questions, points"),
        HtmlColumn(name="ΔEM", hint="difference to the baseline, points"),
        HtmlColumn(name="interval", hint="simultaneous over all arms, points"),
    ]
    return [
        _NAME,
        *(exact if task.shows_exact_match else []),
        HtmlColumn(name=f"selection {task.label}", hint="on held-out training articles; chooses epoch and best arm"),
        *_DETAILS,
    ]


def _interactions(analysis: Analysis) -> str:
    """The gains of the interactions beside their reference gains, and the differences as a table."""
    found = gains.figure(analysis)
    if found is None:
        return ""
    columns = [HtmlColumn(name="interaction", numeric=False), HtmlColumn(name="of", numeric=False)]
    columns += [
        HtmlColumn(name=name)
        for name in ("gain", "interval", "reference gain", "interval", "difference", "interval", "p")
    ]
    rows = []
    for one in analysis.interactions:
        cells = [HtmlCell(markup=text(one.name), value=one.name), HtmlCell(markup=text(interaction_table.members(one)))]
        for key in ("gain", "reference_gain", "difference"):
            gain = getattr(one, key)
            cells.append(HtmlCell(markup=signed(gain.estimate), value=gain.estimate))
            cells.append(HtmlCell(markup=interval(gain.low, gain.high), value=gain.low))
        rows.append(("", [*cells, HtmlCell(markup=text(p_value(one.p_adjusted)), value=one.p_adjusted)]))
    return f"{figure(found)}{table(columns, rows, interaction_table.legend(analysis.task))}"


def _tables(analysis: Analysis) -> str:
    """The score against the baseline, then everything else of each arm; each table fits a page."""
    task = analysis.task
    rows = sorted(analysis.rows, key=lambda row: (row.kind != "arm", row.score is None, -(row.score or 0)))
    scores = (
        f"{begins(task.label)} against the baseline, in points (0 to 100) on the test questions, means over an arm's "
        f"seeds; ◆ marks the arm chosen on the selection split. Intervals of Δ{task.label} hold at "
        f"{confidence(analysis)} for all arms at once. Supported: the highest tier that the interval's lower end "
        f"reaches; {BELOW_TIERS}. "
    )
    shares = [row.share_of_ceiling for row in rows if row.share_of_ceiling]
    if shares:
        reasons = dict.fromkeys(share.reason for share in shares if share.reason)
        scores += f"Of ceiling: {CEILING_SCALE}" + "".join(f"; no interval: {reason}" for reason in reasons) + ". "
    scores += "A column's heading sorts by it."
    details = f"{task.label} on the selection split, reconstruction, LoRA and training of the same arms."
    details = f"Exact match, {details}" if task.shows_exact_match else begins(details)
    classes = [f"{row.kind}{' chosen' if row.best else ''}" for row in rows]
    return table(_score_columns(task), zip(classes, map(_scores, rows), strict=True), scores, "sortable") + table(
        _detail_columns(task), zip(classes, (_details(row, task) for row in rows), strict=True), details, "sortable"
    )


def _name(row: AnalysisRow) -> HtmlCell:
    name = text(row.name) + (' <span class="chosen-mark">◆</span>' if row.best else "")
    name += f" <small>{text(row.kind)}</small>" if row.kind == "control" else ""
    return HtmlCell(markup=name, value=row.name, key="name")


def _scores(row: AnalysisRow) -> list[HtmlCell]:
    difference, share = row.score_difference, row.share_of_ceiling
    status = "" if row.status == "done" else f"<em>{text(row.status)}</em>"
    p, reached = difference.p_adjusted if difference else None, share.estimate if share else None
    return [
        _name(row),
        _number(row, "score", status or points(row.score)),
        _difference(difference, "score_difference"),
        _ends(difference, "score_difference"),
        HtmlCell(markup=text(p_value(p)), value=p, key="score_difference.p_adjusted"),
        HtmlCell(markup=text(row.observed_tier), value=row.observed_tier, key="observed_tier"),
        HtmlCell(markup=text(row.supported_tier), value=row.supported_tier, key="supported_tier"),
        _number(row, "questions_needed", whole(row.questions_needed) + _star(row.questions_obstacle)),
        HtmlCell(markup=percent(reached), value=reached, key="share_of_ceiling.estimate"),
        _share_ends(share),
    ]


def _details(row: AnalysisRow, task: Task) -> list[HtmlCell]:
    em = row.em_difference
    exact = [_number(row, "em", points(row.em)), _difference(em, "em_difference"), _ends(em, "em_difference")]
    return [
        _name(row),
        *(exact if task.shows_exact_match else []),
        _number(row, "selection_score", points(row.selection_score)),
        _number(row, "cosine", decimal(row.cosine)),
        _number(row, "rank", plain(row.rank or None)),
        _number(row, "alpha", plain(row.alpha if row.rank else None)),
        _number(row, "num_layers", plain(row.num_layers if row.rank else None)),
        _number(row, "params", whole(row.params)),
        _number(row, "minutes", decimal(row.minutes, 1)),
    ]


def _number(row: AnalysisRow, key: str, markup: str) -> HtmlCell:
    return HtmlCell(markup=markup, value=getattr(row, key), key=key)


def _difference(found: Difference | None, key: str) -> HtmlCell:
    """A difference; where there is no ordinary interval, with a star that says why."""
    estimate, reason = (found.estimate, found.reason) if found else (None, None)
    return HtmlCell(markup=signed(estimate) + _star(reason), value=estimate, key=f"{key}.estimate")


def _star(reason: str | None) -> str:
    return f' <small title="{text(reason)}">*</small>' if reason else ""


def _ends(found: Difference | None, key: str) -> HtmlCell:
    low, high = (found.low, found.high) if found else (None, None)
    return HtmlCell(markup=interval(low, high), value=low, key=f"{key}.low")


def _share_ends(share: ShareOfCeiling | None) -> HtmlCell:
    low, high = (share.low, share.high) if share else (None, None)
    markup = MISSING if low is None or high is None else f"[{percent(low)}, {percent(high)}]"
    return HtmlCell(markup=markup, value=low, key="share_of_ceiling.low")
