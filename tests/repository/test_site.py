"""The documentation site: its navigation, its links out of docs/, and, where mkdocs is installed, a strict build."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://example.org/thinwire"


def load_site_pages():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "scripts" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


site_pages = load_site_pages()


def entries(nav):
    """Return the paths of the pages in a navigation, in order."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [path for part in parts for path in entries(part)]


def test_the_navigation_names_every_page_once():
    in_docs = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    nav = entries(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(nav) == sorted(in_docs | set(site_pages.MADE_FROM) | set(site_pages.API) | {site_pages.REPORT_PAGE})


def test_pages_are_made_from_files_and_modules_that_exist():
    assert (ROOT / site_pages.REPORT_RECORD).is_file()
    assert [source for source in site_pages.MADE_FROM.values() if not (ROOT / source).is_file()] == []
    modules = {module for _, module, _ in site_pages.API.values()}
    paths = [ROOT / "src" / module.replace(".", "/") for module in modules]
    assert [path for path in paths if not (path.is_dir() or path.with_suffix(".py").is_file())] == []


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("guide/data.md", "settings.md#data", "settings.md#data"),
        ("guide/data.md", "#the-cache", "#the-cache"),
        ("guide/data.md", "https://example.com/a.md", "https://example.com/a.md"),
        ("guide/data.md", "../images/report.png", "../images/report.png"),
        ("guide/data.md", "../../experiments/schema.json", f"{REPOSITORY}/blob/main/experiments/schema.json"),
        ("guide/data.md", "../results/records", f"{REPOSITORY}/tree/main/docs/results/records"),
        ("guide/data.md", "../../experiments/README.md", "../results/experiments.md"),
        ("guide/data.md", "../notebooks/first_sweep.ipynb", "../notebooks/first_sweep.md"),
        ("plan.md", "../CHANGELOG.md", "changelog.md"),
        ("plan.md", "../README.md#in-python", "index.md#in-python"),
        ("index.md", "docs/guide/README.md", "guide/README.md"),
        ("index.md", "docs/guide", "guide/README.md"),
        ("index.md", "LICENSE", f"{REPOSITORY}/blob/main/LICENSE"),
        ("results/experiments.md", "phase1a_lora.yaml", f"{REPOSITORY}/blob/main/experiments/phase1a_lora.yaml"),
        ("results/experiments.md", "../docs/results/codecs.md", "codecs.md"),
        ("plan.md", "nowhere.md", "nowhere.md"),
        ("plan.md", "../../elsewhere", "../../elsewhere"),
    ],
)
def test_a_link_leads_to_a_page_or_else_to_the_repository(page, link, expected):
    assert site_pages.site_markdown(f"[a]({link})", page, REPOSITORY, {}) == f"[a]({expected})"


def test_code_blocks_keep_their_links_and_comments():
    code = "```markdown\n[a](../LICENSE)\n<!-- kept -->\n```\n"
    page = f"- a\n  <!-- figures: 1\n  2 -->\n- b\n\n{code}\n[c](../LICENSE)\n"
    expected = f"- a\n- b\n\n{code}\n[c]({REPOSITORY}/blob/main/LICENSE)\n"
    assert site_pages.site_markdown(page, "plan.md", REPOSITORY, {}) == expected


def test_a_link_named_as_a_file_gets_the_title_of_its_page():
    nav = [{"Home": "index.md"}, {"Guide": ["guide/README.md", {"Data": "guide/data.md"}]}, {"Plan": "plan.md"}]
    titles = site_pages.page_titles(nav)
    assert titles == {"index.md": "Home", "guide/README.md": "Guide", "guide/data.md": "Data", "plan.md": "Plan"}
    page = "[data.md](data.md#a), [docs/plan.md](../plan.md), [the data](data.md), [README.md](README.md), [a.md](a.md)"
    expected = "[Data](data.md#a), [Plan](../plan.md), [the data](data.md), [Guide](README.md), [a.md](a.md)"
    assert site_pages.site_markdown(page, "guide/models.md", REPOSITORY, titles) == expected


def test_intervals_and_percentages_in_tables_are_not_broken():
    page = "+1.0 (-0.5 to +2.5)\n\n| a | +1.0 (-0.5 to +2.5), 82 % of 3 to a |\n"
    expected = page.replace("| a | +1.0 (-0.5 to +2.5), 82 %", "| a | +1.0 (-0.5&nbsp;to&nbsp;+2.5), 82&nbsp;%")
    assert site_pages.site_markdown(page, "plan.md", REPOSITORY, {}) == expected


def test_a_notebook_becomes_its_text_its_code_and_its_outputs():
    shown = {"output_type": "execute_result", "data": {"text/html": ["<b>2</b>"], "text/plain": ["2"]}}
    printed = {"output_type": "stream", "name": "stdout", "text": ["a\n", "b\n"]}
    cells = [
        {"cell_type": "markdown", "source": ["# Sums\n", "Of two."]},
        {"cell_type": "code", "source": ["print(text)\n", "1 + 1"], "outputs": [printed, shown]},
    ]
    expected = "# Sums\nOf two.\n\n```python\nprint(text)\n1 + 1\n```\n\n```text\na\nb\n```\n\n```text\n2\n```\n"
    assert site_pages.notebook_page(json.dumps({"cells": cells})) == expected


def test_headings_have_the_anchors_that_github_gives_them():
    assert site_pages.github_slug("Llama-3.1-8B: step by step, `a_b` - c", "-") == "llama-31-8b-step-by-step-a_b---c"


def test_the_repositorys_address_is_that_of_the_metadata():
    assert site_pages.repository_url() == "https://github.com/thinwire/thinwire"
    social = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["extra"]["social"]
    assert [entry["link"] for entry in social] == [site_pages.repository_url()]


def markdown_of(page):
    """The text of the file in docs/results that a page of the site is made from, empty if there is none."""
    file = ROOT / "docs" / "results" / f"{page.parent.name}.md"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


@pytest.mark.slow
def test_the_site_builds_strictly_and_its_pages_load_nothing_from_elsewhere(tmp_path):
    for module in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(module, reason="needs the extra docs: pip install -c constraints.txt -e '.[docs]'")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 50
    report = (tmp_path / "site" / site_pages.REPORT).read_text(encoding="utf-8")
    assert "<h1>LoRA gains: strong" in report
    assert 'src="../phase1a_lora_report.html"' in (tmp_path / "site/results/report/index.html").read_text("utf-8")
    for page in (tmp_path / "site/results").glob("*/index.html"):
        figures = re.findall(r'<img [^>]*?src="?([^" >]+)', page.read_text(encoding="utf-8"))
        assert [figure for figure in figures if not (page.parent / figure).is_file()] == []
        assert figures or "(../images/" not in markdown_of(page)
    outside = re.compile(r'<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)="?(?:https?:)?//[^">]*')
    assert {found for page in pages for found in outside.findall(page.read_text(encoding="utf-8"))} == set()
