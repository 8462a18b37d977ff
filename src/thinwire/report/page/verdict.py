"""The first screen: the verdict in words, its numbers in one line, and where the best arm stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thinwire.report.figures import standing
from thinwire.report.figures.data import baseline, confidence, standings
from thinwire.report.numbers import interval, percent, points, signed, whole
from thinwire.report.page.markup import figure, paragraph, text

WIDE, NARROW, HALF = 912, 342, 400
"""Widths of drawings in pixels: a desktop's column, a phone's, and half a desktop's."""


def verdict(analysis: Mapping[str, Any]) -> str:
    """Headline, numbers, sentence, and the figure of standings."""
    found = analysis["verdict"]
    parts = [
        f'<p class="eyebrow">{_eyebrow(analysis)}</p>',
        f"<h1>{text(found['headline'])}</h1>",
        _numbers(analysis),
        paragraph(found["sentence"], "lead"),
        _failures(analysis),
    ]
    if items := standings(analysis):
        wide, narrow = standing.draw(items, WIDE), standing.draw(items, NARROW)
        parts.append(figure(standing.TITLE, "", wide, narrow))
    return f'<header id="verdict">{"".join(parts)}</header>'


def meaning(analysis: Mapping[str, Any]) -> str:
    """What follows from the verdict: lesson, next steps, what was checked and what the uncertainty covers."""
    found = analysis["verdict"]
    blocks = [
        ("Lesson learned", _unless(found["sentence"], found["lesson"])),
        ("Next steps", _list(found["next_steps"])),
        ("Next steps, once confirmed", _list(found.get("next_steps_if_confirmed"))),
        ("Baseline check", _unless(None, found["baseline_check"])),
        ("What the uncertainty covers", _unless(None, found["uncertainty_covers"])),
    ]
    written = "".join(f"<div><h3>{title}</h3>{block}</div>" for title, block in blocks if block)
    notes = "".join(f"<li>{text(note)}</li>" for note in analysis["notes"])
    aside = f'<aside class="notes"><h3>Notes</h3><ul>{notes}</ul></aside>' if notes else ""
    return f'<section id="meaning"><h2>What it means</h2><div class="columns">{written}</div>{aside}</section>'


def _unless(said: str | None, words: str | None) -> str:
    """A paragraph, if there are words which have not been said already."""
    return paragraph(words) if words and words != said else ""


def _list(steps: Sequence[str] | None) -> str:
    return "<ol>" + "".join(f"<li>{text(step)}</li>" for step in steps) + "</ol>" if steps else ""


def _eyebrow(analysis: Mapping[str, Any]) -> str:
    sweep = analysis["sweep"]
    sizes = sorted({row["n"] for row in analysis["rows"] if row["n"]})
    tested = f"{' or '.join(whole(size) for size in sizes)} test questions" if sizes else None
    parts = [sweep["name"], sweep["model"]["name"], f"{whole(sweep['samples'])} training questions", tested]
    return " · ".join(text(part) for part in parts if part)


def _numbers(analysis: Mapping[str, Any]) -> str:
    """The best arm's difference with its interval, its F1 and the baseline's, the tiers, the share of the ceiling."""
    found = analysis["verdict"]
    judged = found.get("judged_by") or found["best"]  # another than the best, where that is the baseline itself
    best = next((row for row in analysis["rows"] if row["name"] == judged), None)
    base = baseline(analysis)
    if best is None or best["f1"] is None:
        return '<p class="numbers">No arm has a result.</p>'
    difference = best["f1_difference"] or {}
    parts = []
    if difference.get("estimate") is not None:
        ends = interval(difference.get("low"), difference.get("high"))
        parts.append(f"<strong>{signed(difference['estimate'])} F1</strong> <span>{confidence(analysis)} {ends}</span>")
    against = f" against {points(base['f1'])}" if base is not None and base is not best else ""
    parts.append(f"<b>{text(best['name'])}</b> {points(best['f1'])}{against}")
    parts.append(f"observed <b>{text(found['tier'])}</b>, supported <b>{text(found['supported_tier'])}</b>")
    share = (best["share_of_ceiling"] or {}).get("estimate")
    if share is not None:
        parts.append(f"<b>{percent(share)}</b> of the way from codes alone to text + LoRA")
    return '<p class="numbers">' + "".join(f"<span>{part}</span>" for part in parts) + "</p>"


def _failures(analysis: Mapping[str, Any]) -> str:
    failed = [row for row in analysis["rows"] if row["status"] != "done"]
    if not failed:
        return ""
    names = "".join(
        f"<li><b>{text(row['name'])}</b> {text(row['status'])}{': ' + text(row['error']) if row['error'] else ''}</li>"
        for row in failed
    )
    return f'<div class="failed"><p>Without a result, and in none of the comparisons:</p><ul>{names}</ul></div>'
