"""Turn the repository's Markdown into the pages of the documentation site; mkdocs calls these functions.

The files stay as GitHub shows them. Some pages are made from files outside docs/, from the notebook, and from
docstrings; links between files become links between pages, or to the repository where a file is no page.
"""

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from site_pages import (
    API,
    MADE_FROM,
    REPORT,
    REPORT_PAGE,
    REPORT_RECORD,
    REPORT_TEXT,
    ROOT,
    github_slug,
    notebook_page,
    page_titles,
    repository_url,
    site_markdown,
)

from thinwire.report.html.page import render
from thinwire.report.markdown.sweep_record import read_sweep_record

_WITHOUT_HEADING = "    options: {show_root_heading: false, show_root_toc_entry: false}"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors that GitHub gives them, so that a link to one leads there in both places."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = github_slug
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files in docs/."""
    for page, source in MADE_FROM.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        content = notebook_page(text) if source.endswith(".ipynb") else text
        files.append(File.generated(config, page, content=content))
    for page, (title, module, names) in API.items():
        wanted = [f"::: {module}.{name}" for name in names] or [f"::: {module}\n{_WITHOUT_HEADING}"]
        files.append(File.generated(config, page, content="\n\n".join([f"# {title}", *wanted]) + "\n"))
    files.append(File.generated(config, REPORT_PAGE, content=REPORT_TEXT))
    files.append(File.generated(config, REPORT, content=render(read_sweep_record(ROOT / REPORT_RECORD), None)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adapt a page of the repository to the site."""
    uri = page.file.src_uri
    if uri == "index.md":
        page.meta["hide"] = ["navigation"]  # it has one entry
    return markdown if uri in API else site_markdown(markdown, uri, repository_url(), page_titles(config.nav))
