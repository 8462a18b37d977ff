"""Everything that a finished sweep is told by: one analysis, and its renderings."""

from __future__ import annotations

from thinwire.records import write_json, write_text
from thinwire.report import html, markdown
from thinwire.report.analysis import Analysis, analyse
from thinwire.report.results import Results
from thinwire.report.series import collect
from thinwire.report.summary import summary_text


def write_reports(results: Results) -> Analysis:
    """Write ``analysis.json``, ``sweep_summary.txt``, ``report.md`` and ``report.html`` into the sweep's folder."""
    run, analysis = results.folder, analyse(results)
    write_json(run / "analysis.json", analysis)
    write_text(run / "sweep_summary.txt", summary_text(run, analysis))
    write_text(run / "report.md", markdown.section(analysis))
    write_text(run / "report.html", html.render(analysis, collect(results, analysis)))
    return analysis
