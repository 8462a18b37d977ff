"""Which files of the repository are pages of the documentation site, and what their links and headings become there."""

import json
import os
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

MADE_FROM = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "results/experiments.md": "experiments/README.md",
    "performance/benchmarks.md": "benchmarks/README.md",
    "notebooks/first_sweep.md": "docs/notebooks/first_sweep.ipynb",
}
"""Pages that are no file of their own in docs/, and the file of the repository that each is made from."""

API = {
    "api/index.md": ("From experiment to results", "thinwire.api", ["load_experiment", "run", "Run"]),
    "api/models_and_codecs.md": ("Models and codecs", "thinwire.api", ["CompressedLM", "fit_codec"]),
    "api/codec.md": ("The base class of codecs", "thinwire.codecs.base", ["Codec"]),
    "api/experiment.md": ("Experiment and arm", "thinwire.config.experiment", ["Experiment", "ArmConfig"]),
    "api/settings.md": ("Settings", "thinwire.config.settings", []),
    "api/codec_settings.md": ("Settings of codecs", "thinwire.codecs.settings", []),
}
"""Pages made from docstrings: title, module, and the names in it (all public ones if none is given)."""

REPORT = "results/phase1a_lora_report.html"
"""Where the site has the report of a sweep, as ``thinwire report`` writes it."""
REPORT_RECORD = "docs/results/records/phase1a_lora.json"
"""The sweep record that it is made from."""
REPORT_PAGE = "results/report.md"
"""The page that shows it."""
REPORT_TEXT = """---
hide: [toc]
---
# A report

This is the page that `thinwire report` writes when a sweep has ended: one file, which needs no network. It is that of
[the plan's sweep](main_sweep.md), made by this site's build from [its record](records/phase1a_lora.json). What only the
sweep's folder holds is missing here: training curves, reconstruction by token frequency, and the answers to each
question.

[Open the report as a page of its own](phase1a_lora_report.html)

<iframe class="report" src="../phase1a_lora_report.html" title="The report of the plan's sweep"></iframe>
"""
"""Its text."""

_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_NAMED_AS_FILE = re.compile(r"\[[\w./-]+\.md\](?=\(([^)#\s]+)[^)\s]*\))")
_COMMENT = re.compile(r"^ *<!--.*?-->\n?", flags=re.M | re.S)
_ROW = re.compile(r"^ *\|.*$", flags=re.M)
_HELD_TOGETHER = re.compile(r"(?<=\d) (?:(to) (?=[+-]?\d)|(?=%))")
_FENCE = re.compile(r"(^ *```.*?^ *```$)", flags=re.M | re.S)


def page_titles(nav: Any) -> dict[str, str]:
    """Return the titles of pages in the navigation of mkdocs.yml, by page; a section's own page has the section's."""
    if isinstance(nav, list):
        return {page: title for part in nav for page, title in page_titles(part).items()}
    if not isinstance(nav, dict):
        return {}
    titles = {}
    for title, below in nav.items():
        own = [below] if isinstance(below, str) else [page for page in below if isinstance(page, str)]
        titles |= dict.fromkeys(own, title) | page_titles(below)
    return titles


def site_markdown(markdown: str, uri: str, repository: str, titles: Mapping[str, str]) -> str:
    """Return a page of the repository as the site needs it; code blocks stay as they are.

    Links are rewritten, and those named as a file get the title of its page. Comments, which would split lists, are
    left out. In tables, the two ends of an interval stay on one line, and so do a number and its %.
    """
    source = MADE_FROM.get(uri, f"docs/{uri}")

    def named(link: re.Match[str]) -> str:
        title = titles.get(posixpath.normpath(posixpath.join(posixpath.dirname(uri), link[1])))
        return f"[{title}]" if title else link[0]

    def adapted(part: str) -> str:
        part = _ROW.sub(_without_breaks, _COMMENT.sub("", part))
        part = _LINK.sub(lambda link: link[1] + site_link(link[2], uri, source, repository) + link[3], part)
        return _NAMED_AS_FILE.sub(named, part)

    parts = _FENCE.split(markdown)
    parts[::2] = map(adapted, parts[::2])
    return "".join(parts)


def _without_breaks(row: re.Match[str]) -> str:
    return _HELD_TOGETHER.sub(lambda space: f"&nbsp;{space[1]}&nbsp;" if space[1] else "&nbsp;", row[0])


def site_link(link: str, uri: str, source: str, repository: str) -> str:
    """Return a link of the file ``source`` as the page ``uri`` needs it.

    Args:
        link: as written: relative to ``source``, absolute, or an anchor.
        uri: the page's path below docs/, which may not exist as a file.
        source: path of the file that the page is made from, below the repository's root.
        repository: address of the repository on the web.
    """
    path, hash_, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:", link):
        return link
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if page := _page_of(target):
        return posixpath.relpath(page, posixpath.dirname(uri) or ".") + hash_ + anchor
    if (ROOT / target).exists() and not target.startswith(os.pardir):
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{repository}/{kind}/main/{target}{hash_}{anchor}"
    return link  # leads nowhere, which the strict build reports


def _page_of(target: str) -> str | None:
    """Return the path below docs/ of the page or image that a path of the repository has on the site, if it has one."""
    file = f"{target}/README.md" if (ROOT / target).is_dir() else target
    made = [page for page, source in MADE_FROM.items() if source == file]
    if made:
        return made[0]
    in_docs = file.startswith("docs/") and (ROOT / file).is_file()
    return file.removeprefix("docs/") if in_docs and file.endswith((".md", ".svg", ".png")) else None


def github_slug(title: str, separator: str) -> str:
    """Return the anchor of a heading: lower case, without punctuation, each space a separator."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", separator)


def notebook_page(text: str) -> str:
    """Return a notebook's cells and their text outputs as Markdown."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            shown = "".join(output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"])
            parts.append(f"```text\n{shown.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def repository_url() -> str:
    """Return the address of the repository that pyproject.toml gives.

    Raises:
        ValueError: it gives none.
    """
    found = re.search(r'^Source = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.M)
    if not found:
        raise ValueError("pyproject.toml has no line 'Source = \"...\"' under [project.urls]")
    return found[1].rstrip("/")
