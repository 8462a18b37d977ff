"""The first screen: the verdict in words, its numbers in one line, and where the best arm stands."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.report.analysis_record import Analysis
from thinwire.report.caveats import CEILING_SCALE, limits, model_name, overlap
from thinwire.report.figures import standing
from thinwire.report.figures.data.rows import baseline, confidence
from thinwire.report.formatting import interval, percent, points, signed, whole
from thinwire.report.html.markup import figure, paragraph, text


def verdict(analysis: Analysis) -> str:
    """Headline, numbers, sentence, and the figure of standings."""
    found, shared = analysis.verdict, overlap(analysis.sweep.shared_paragraphs)
    parts = [
        f'<p class="eyebrow">{_eyebrow(analysis)}</p>',
        f'<div class="failed">{paragraph(f"{shared}.")}</div>' if shared else "",
        f"<h1>{text(found.headline)}</h1>",
        _numbers(analysis),
        paragraph(found.sentence, "lead"),
        *(paragraph(f"{said[0].upper()}{said[1:]}.", "empty") for said in limits(analysis)),
        _failures(analysis),
    ]
    if (found_standings := standing.figure(analysis)) is not None:
        parts.append(figure(found_standings, level=2))
    return f'<header id="verdict">{"".join(parts)}</header>'


def meaning(analysis: Analysis) -> str:
    """What follows from the verdict: next steps, what was checked and what the uncertainty covers."""
    found = analysis.verdict
    blocks = [
        ("Next steps", _list(found.next_steps)),
        ("Next steps, once confirmed", _list(found.next_steps_if_confirmed)),
        ("Baseline check", paragraph(found.baseline_check)),
        ("What the uncertainty covers", paragraph(found.uncertainty_covers) if found.uncertainty_covers else ""),
    ]
    written = "".join(f"<div><h3>{title}</h3>{block}</div>" for title, block in blocks if block)
    noted = "".join(f"<li>{text(note)}</li>" for note in analysis.notes if note not in limits(analysis))
    aside = f'<aside class="notes"><h3>Notes</h3><ul>{noted}</ul></aside>' if noted else ""
    return f'<section id="meaning"><h2>What it means</h2><div class="columns">{written}</div>{aside}</section>'


def _list(steps: Sequence[str]) -> str:
    return "<ol>" + "".join(f"<li>{text(step)}</li>" for step in steps) + "</ol>" if steps else ""


def _eyebrow(analysis: Analysis) -> str:
    sweep = analysis.sweep
    sizes = sorted({row.n for row in analysis.rows if row.n})
    tested = f"{' or '.join(whole(size) for size in sizes)} test questions" if sizes else None
    trained = f"{whole(sweep.training_questions or sweep.samples)} training questions"
    parts = [sweep.name, model_name(sweep.model), trained, tested]
    return " · ".join(text(part) for part in parts if part)


def _numbers(analysis: Analysis) -> str:
    """The best arm's difference with its interval, its score and the baseline's, the tiers, the share of the
    ceiling."""
    found = analysis.verdict
    judged = found.judged_by or found.best  # another than the best, where that is the baseline itself
    best = next((row for row in analysis.rows if row.name == judged), None)
    base = baseline(analysis)
    if best is None or best.score is None:
        return '<p class="numbers">No arm has a result.</p>'
    parts = []
    if difference := best.score_difference:
        ends = interval(difference.low, difference.high)
        gain = f"{signed(difference.estimate)} {text(analysis.task.label)}"
        parts.append(f"<strong>{gain}</strong> <span>{confidence(analysis)} {ends}</span>")
    against = f" against {points(base.score)}" if base is not None and base is not best else ""
    parts.append(f"<b>{text(best.name)}</b> {points(best.score)}{against}")
    parts.append(f"observed <b>{text(found.tier)}</b>, supported <b>{text(found.supported_tier)}</b>")
    if (costs := best.prompt_costs) and costs.positions < costs.tokens:
        parts.append(f"<b>{whole(costs.positions)}</b> positions for {whole(costs.tokens)} tokens of a prompt")
    if share := best.share_of_ceiling:
        known = share.low is not None and share.high is not None
        said = (
            f", {percent(share.low)} to {percent(share.high)}" if known else f", {share.reason}" if share.reason else ""
        )
        parts.append(f"<b>{percent(share.estimate)}</b> of the ceiling ({CEILING_SCALE}){text(said)}")
    return '<p class="numbers">' + "".join(f"<span>{part}</span>" for part in parts) + "</p>"


def _failures(analysis: Analysis) -> str:
    failed = [row for row in analysis.rows if row.status != "done"]
    if not failed:
        return ""
    names = "".join(
        f"<li><b>{text(row.name)}</b> {text(row.status)}{': ' + text(row.error) if row.error else ''}</li>"
        for row in failed
    )
    return f'<div class="failed"><p>Without a result, and in none of the comparisons:</p><ul>{names}</ul></div>'
