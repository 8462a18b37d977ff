"""Everything that a finished sweep is told by: one analysis, and its renderings."""

from __future__ import annotations

from pathlib import Path

from thinwire.records import write_json, write_text
from thinwire.report import html, markdown
from thinwire.report.analysis import Analysis, analyse
from thinwire.report.results import read_results
from thinwire.report.series import collect
from thinwire.report.summary import summary_text


def write_reports(run: Path) -> Analysis:
    """Write ``analysis.json``, ``sweep_summary.txt``, ``report.md`` and ``report.html`` of a finished sweep.

    Raises:
        UsageError: the folder is no finished sweep's, or mixes two.
    """
    results = read_results(run)
    analysis = analyse(results)
    write_json(run / "analysis.json", analysis)
    write_text(run / "sweep_summary.txt", summary_text(run, analysis))
    write_text(run / "report.md", markdown.section(analysis))
    write_text(run / "report.html", html.render(analysis, collect(results, analysis)))
    return analysis
