"""Put a section into a Markdown file between markers, and leave the rest of the file as it is."""

from __future__ import annotations

from pathlib import Path

from thinwire.errors import UsageError
from thinwire.files import write_text
from thinwire.regular_file import NotRegularError, open_regular
from thinwire.results.layout import SUMMARY_FILE
from thinwire.results.sweep_header import has_header

BEGIN, END = "<!-- thinwire: begin {name} -->", "<!-- thinwire: end {name} -->"
"""What marks the section of one sweep; everything outside is left as it is."""

_MARKDOWN = ("", ".md", ".markdown", ".mdx", ".qmd", ".rmd", ".txt")
"""How the names of files end that a section can be put into. In any other, JSON or YAML for one, it would be damage."""


def insert(report: Path, name: str, text: str) -> bool:
    """Put ``text`` between the markers of sweep ``name`` in ``report``, at its end where there are none yet.

    Returns:
        Whether an earlier section was replaced.

    Raises:
        UsageError: the file is missing, is no Markdown file by its name, is one that Thinwire writes into the sweep's
            folder, or its markers are not one pair in order.
    """
    whole, replaced = inserted(report, name, text)
    _write(report, whole)
    return replaced


def inserted(report: Path, name: str, text: str) -> tuple[str, bool]:
    """What ``insert`` makes of ``report``, and what it returns, with nothing written; it raises the same."""
    _check_may_be_changed(report)
    begin, end = BEGIN.format(name=name), END.format(name=name)
    # Bytes, so that line endings outside the section stay what they are.
    try:
        with open_regular(report) as file:
            before = file.read().decode("utf-8")
    except NotRegularError as error:
        raise UsageError(
            f"no file {report} to put the section into (it is {error.found}); create it, or leave --into out"
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{report} is not UTF-8 ({error}); convert it first") from None
    block = f"{begin}\n{text}{end}"
    if (before.count(begin), before.count(end)) == (0, 0):
        gap = "" if not before or before.endswith("\n\n") else "\n" if before.endswith("\n") else "\n\n"
        return f"{before}{gap}{block}\n", False
    head, found_begin, rest = before.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end) or begin in rest or end in head + tail:
        raise UsageError(f"{report} must hold {begin} and then {end}, once each; mend or remove them")
    return f"{head}{block}{tail}", True


def _check_may_be_changed(report: Path) -> None:
    if report.suffix.lower() not in _MARKDOWN:
        raise UsageError(f"{report} is no Markdown file by its name, and a section would damage it; name a .md file")
    if has_header(report.parent) and report.name in (SUMMARY_FILE, "report.md"):
        raise UsageError(f"{report} is written anew with every report, without the section; name another Markdown file")


def _write(report: Path, text: str) -> None:
    mode = report.stat().st_mode
    write_text(report, text)
    report.chmod(mode)
