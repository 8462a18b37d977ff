"""``report.html``: one page that needs no network, no server and nothing installed.

Everything in it comes from the analysis and its series; this file puts sections, style and script into the template.
The page forbids itself all that it does not hold: its content security policy names style and script by their hashes,
so that no text of a question could ever run, even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from thinwire.report.analysis_record import Analysis
from thinwire.report.figures.svg.palette import page_styles
from thinwire.report.html.answers import collapse, extractors, questions
from thinwire.report.html.arms import arms_section
from thinwire.report.html.costs import bytes_, provenance
from thinwire.report.html.markup import text
from thinwire.report.html.savings import savings
from thinwire.report.html.settings import settings
from thinwire.report.html.training import reconstruction, training
from thinwire.report.html.verdict import meaning, verdict

MAX_BYTES = 3_000_000
"""A page may not be larger: it is mailed, and opened on phones."""


def render(analysis: Analysis, series: Mapping[str, Any] | None) -> str:
    """The whole page as text (to be written as UTF-8).

    Args:
        analysis: every metric of the report; missing is None.
        series: training curves, reconstruction by token frequency, and the answers to each question. None leaves out
            the sections on them: a sweep record has only the analysis.
    """
    style, script = page_styles() + _resource("report.css"), _resource("report.js")
    sections = [
        ("meaning", "Meaning", meaning(analysis)),
        ("arms", "Arms", arms_section(analysis)),
        ("savings", "Savings", savings(analysis)),
        ("settings", "Settings", settings(analysis)),
        ("training", "Training", series and training(analysis, series)),
        ("frequency", "Reconstruction", series and reconstruction(analysis, series)),
        ("collapse", "Collapse", collapse(analysis)),
        ("extractors", "Extraction", extractors(analysis)),
        ("questions", "Questions", series and questions(analysis, series)),
        ("bytes", "Bytes", bytes_(analysis)),
        ("provenance", "Provenance", provenance(analysis)),
    ]
    shown = [(anchor, name, section) for anchor, name, section in sections if section]
    page = Template(_resource("template.html")).substitute(
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        title=text(f"{analysis.sweep.name}: {analysis.verdict.headline}"),
        style=style,
        verdict=verdict(analysis),
        links=" ".join(f'<a href="#{anchor}">{name}</a>' for anchor, name, _ in shown),
        sections="\n".join(section for _, _, section in shown),
        version=text(analysis.sweep.environment.thinwire),
        script=script,
    )
    # A lone surrogate, which a broken answer may hold, cannot be written as UTF-8.
    return page.encode("utf-8", "replace").decode("utf-8")


def _resource(name: str) -> str:
    return files("thinwire.report.html").joinpath(name).read_text(encoding="utf-8")


def _hash(code: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
