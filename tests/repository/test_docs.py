"""Pages in docs/: the order of the glossary, and the files that the architecture names."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_glossary_is_in_alphabetical_order_and_explains_each_word_once():
    rows = (DOCS / "glossary.md").read_text(encoding="utf-8").splitlines()
    terms = [row.split("|")[1].lower() for row in rows if row.startswith("| ")][2:]  # without heading and rule
    assert len(terms) > 50
    # "adapter pretraining" stands before "adapter", as in sorted lines, where a bar follows the term.
    assert terms == sorted(set(terms), key=lambda term: f"{term}|")


def test_every_module_that_the_architecture_names_exists():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+/\w+\.py)\b", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / "src" / "thinwire" / name).is_file()] == []
