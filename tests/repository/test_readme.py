"""The README: its length, its folders and its links."""

import re
from pathlib import Path

import pytest

import thinwire

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_at_most_8_kilobytes():
    assert len(README.encode()) <= 8192


def test_its_table_of_folders_names_every_folder_of_the_package():
    package = Path(thinwire.__file__).parent
    there = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    table = README.split("| folder of `src/thinwire/` |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)/`", table)) == there


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link)]


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*s/README.md")])


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in links(page):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if heading and target.suffix == ".md":
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.M)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, link
