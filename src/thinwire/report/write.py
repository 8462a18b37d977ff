"""Write the reports of a finished sweep: one analysis, and its renderings."""

from __future__ import annotations

from thinwire.files import write_text
from thinwire.report.analysis import analyse
from thinwire.report.analysis_record import Analysis
from thinwire.report.html import page as html
from thinwire.report.markdown import report_section
from thinwire.report.series import collect
from thinwire.report.summary import summary_text
from thinwire.results.layout import ANALYSIS_FILE, SUMMARY_FILE
from thinwire.results.read import Results
from thinwire.results.record import write_record

REPORT_FILES = (ANALYSIS_FILE, SUMMARY_FILE, "report.md", "report.html")


def write_reports(results: Results) -> Analysis:
    """Write ``analysis.json``, ``sweep_summary.txt``, ``report.md`` and ``report.html`` into the sweep's folder."""
    run, analysis = results.folder, analyse(results)
    write_record(run / ANALYSIS_FILE, analysis)
    write_text(run / SUMMARY_FILE, summary_text(run, analysis))
    write_text(run / "report.md", report_section.section(analysis))
    write_text(run / "report.html", html.render(analysis, collect(results, analysis)))
    return analysis
