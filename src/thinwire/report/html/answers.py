"""What the models said: signs of collapse, what extraction alone would gain, and every question side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thinwire.evaluation.extractors import EXTRACTED
from thinwire.report.analysis_record import Analysis
from thinwire.report.caveats import first_seed
from thinwire.report.formatting import MISSING, decimal, percent, points, whole
from thinwire.report.html.embed import count, filters, questions_script
from thinwire.report.html.markup import HtmlCell, HtmlColumn, paragraph, section, table, text
from thinwire.report.rows import AnalysisRow, AnswerSummary, Degeneration
from thinwire.report.score_words import with_article

_FINDINGS = {"healthy": "good", "format only": "fair", "collapsed": "bad"}


def collapse(analysis: Analysis) -> str:
    """The finding for each arm and control with its numbers, then the reasons and examples; empty where a task's
    answers are no texts of the model's own."""
    if not analysis.task.has_texts:
        return ""
    rows = [(row, row.degeneration) for row in analysis.rows if row.degeneration]
    if not rows:
        return section("collapse", "Collapse and format", paragraph("No answers to diagnose.", "empty"))
    measured = [found.metrics for _, found in rows]
    names = [name for name in AnswerSummary.model_fields if any(getattr(one, name) is not None for one in measured)]
    columns = [HtmlColumn(name=name, numeric=False) for name in ("configuration", "finding", "because of")]
    columns += [HtmlColumn(name=name.replace("_", " ")) for name in names]
    body = [
        (row.kind, [HtmlCell(markup=text(row.name)), _finding(found), _why(found), *_metrics(found.metrics, names)])
        for row, found in rows
    ]
    if gold := rows[0][1].gold:  # every row answers the same questions
        named = [HtmlCell(markup=name) for name in ("gold answers", "reference", MISSING)]
        body.append(("control", [*named, *_metrics(gold, names)]))
    intro = (
        "A collapsed model says the same whatever it reads. A format fault is milder: the answer is there, among other "
        f"words. Both would hide behind a low {analysis.task.label}, so each arm is examined for them."
    )
    if seed := first_seed(analysis):
        intro += f" All of this section is{seed}."
    drawn = table(columns, body, "Findings for each configuration, with the numbers that they rest on")
    return section("collapse", "Collapse and format", paragraph(intro), drawn, *(_examples(*one) for one in rows))


def _finding(found: Degeneration) -> HtmlCell:
    finding = found.finding
    return HtmlCell(markup=f'<span class="finding {_FINDINGS.get(finding, "")}">{text(finding)}</span>', value=finding)


def _why(found: Degeneration) -> HtmlCell:
    return HtmlCell(markup=text("; ".join(found.reasons) or None), css="reasons" if found.reasons else "")


def _metrics(found: AnswerSummary, names: Sequence[str]) -> list[HtmlCell]:
    return [
        HtmlCell(
            markup=text(_written(name, getattr(found, name))),
            value=getattr(found, name),
            css="clip" if isinstance(getattr(found, name), str) else "",
            key=f"degeneration.metrics.{name}",
        )
        for name in names
    ]


def _written(name: str, value: float | int | str | None) -> str | None:
    """Shares as percentages; entropies and means as plain numbers, counts in full."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return whole(value)
    is_share = 0 <= value <= 1 and not any(word in name for word in ("entropy", "mean", "count", "length"))
    return percent(value) if is_share else decimal(value, 2)


def _examples(row: AnalysisRow, found: Degeneration) -> str:
    if not found.examples and not found.reasons:
        return ""
    reasons = "".join(f"<li>{text(reason)}</li>" for reason in found.reasons)
    items = "".join(
        f'<li><q dir="auto">{text(example.question)}</q>'
        f'<p>gold <b dir="auto">{text(" / ".join(dict.fromkeys(example.golds)))}</b></p>'
        f'<pre dir="auto">{text(example.raw_text) or "(empty)"}</pre></li>'
        for example in found.examples
    )
    opened, number = " open" if row.best else "", len(found.examples)
    return (
        f"<details{opened}><summary>{text(row.name)}: {text(found.finding)}, {number} example{'s' * (number != 1)}"
        f'</summary>{f"<ul>{reasons}</ul>" if reasons else ""}<ol class="examples">{items}</ol></details>'
    )


def extractors(analysis: Analysis) -> str:
    """F1 and EM of every row under every extractor: a gain that text shares is format, not understanding. Empty where a
    task is scored by neither."""
    if analysis.task.metric not in EXTRACTED:
        return ""
    rows = [row for row in analysis.rows if row.extractors]
    title = "What extraction alone would gain"
    if not rows:
        return section("extractors", title, paragraph("No extractor was scored.", "empty"))
    names = list(dict.fromkeys(name for row in rows for name in row.extractors))
    columns = [HtmlColumn(name="configuration", numeric=False), HtmlColumn(name="input", numeric=False)]
    columns += [HtmlColumn(name=name.replace("_", " ")) for name in names]
    intro = (
        "Extraction rules applied to the raw answers, as F1 / EM in points. A rule that lifts F1 as much where the "
        "input is text as where it is codes repairs the format of an answer, not the reading. Scores are means over an "
        "arm's seeds."
    )
    caption = "F1 / EM under each rule; bold: best F1"
    body = [
        (
            row.kind,
            [
                _name(row),
                HtmlCell(markup=row.input if row.input in ("text", "blocks") else "codes"),
                *_scores(row, names),
            ],
        )
        for row in rows
    ]
    return section("extractors", title, paragraph(intro), table(columns, body, caption))


def _name(row: AnalysisRow) -> HtmlCell:
    return HtmlCell(markup=text(row.name), value=row.name)


def _scores(row: AnalysisRow, names: Sequence[str]) -> list[HtmlCell]:
    found = row.extractors
    best = max(found.values(), key=lambda score: score.f1).f1
    cells = []
    for name in names:
        score = found[name]
        markup = f"{points(score.f1)} <small>/ {points(score.exact_match)}</small>"
        css = "top" if score.f1 == best else ""
        cells.append(HtmlCell(markup=markup, value=score.f1, css=css, key=f"extractors.{name}.f1"))
    return cells


def questions(analysis: Analysis, series: Mapping[str, Any]) -> str:
    """The table of questions; its rows are made by the page's script, a page at a time, from the data inlined here."""
    found = series["questions"]
    best = analysis.verdict.best
    label = analysis.task.label
    if analysis.task.answered_by == "likelihood":
        nothing = f"Nothing is answered: the score of a text, {label}, is how likely the model finds its words."
        return section("questions", "Questions", paragraph(nothing, "empty"))
    if not found:
        return section("questions", "Questions", paragraph("No predictions were kept.", "empty"))
    names = {"text_control": "text", "baseline": analysis.sweep.baseline, "best": best or "best arm"}
    intro = (
        f"Right means {with_article(label)} of 1. Fixed: the baseline's answer was not right and the best arm's is. "
        "Broken: the other way round."
    )
    if seed := first_seed(analysis):
        intro += (
            f" The answers are those{seed}, so their mean is not an arm's {label}, which is the mean over its seeds."
        )
    controls = (
        '<div class="tools"><input type="search" id="search" placeholder="Search questions and answers" '
        'aria-label="Search questions and answers" autocomplete="off">'
        f'<div class="chips" role="group" aria-label="Which questions">{filters(count(found))}</div></div>'
        '<p id="found" role="status"></p>'
    )
    heads = ["question", "gold", "text control", names["baseline"], names["best"]]
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in heads)
    body = (
        f'<div class="scroll" role="region" tabindex="0" aria-label="Questions"><table id="question-table">'
        f"<thead><tr>{head}</tr></thead><tbody></tbody></table></div>"
        '<div class="pages"><button type="button" id="previous">Previous</button><span id="place"></span>'
        '<button type="button" id="next">Next</button></div>'
        "<noscript><p>The table of questions needs JavaScript.</p></noscript>"
    )
    return section("questions", "Questions", paragraph(intro), controls, body, questions_script(found, names))
