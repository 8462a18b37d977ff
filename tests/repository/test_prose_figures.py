"""The figures that people wrote on the pages about results are those of the records."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prose_figures import Block, blocks, figures_without_source, plain, rounds_to, statements, wrong_figures
from record_fields import SourceError, evaluate

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOLDERS = (DOCS / "results" / "records", DOCS / "performance" / "records")

COVERED = [
    page
    for page in (
        *(ROOT / "README.md", ROOT / "experiments" / "README.md", DOCS / "statistics.md"),
        *sorted((DOCS / "results").glob("*.md")),
    )
    if page.name != "archive.md"  # of runs whose records were not kept
]
"""Pages whose every decimal says where it is from."""

PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("*s/README.md")])


def load(name):
    """Read the record of a name."""
    for folder in FOLDERS:
        if (file := folder / f"{name}.json").exists():
            return json.loads(file.read_text(encoding="utf-8"))
    raise SourceError(f"there is no record {name}.json in docs/results/records or docs/performance/records")


def named(pages):
    """Make a parameter of pages, each named by its path."""
    return pytest.mark.parametrize("page", pages, ids=[str(page.relative_to(ROOT)) for page in pages])


@named(PAGES)
def test_each_stated_figure_is_the_records(page):
    found = [
        f"{page.relative_to(ROOT)}, at {block.opening!r}: {wrong}"
        for block in blocks(page.read_text(encoding="utf-8"))
        for wrong in wrong_figures(block, load)
    ]
    assert not found, "\n".join(found)


@named(COVERED)
def test_each_decimal_says_where_it_is_from(page):
    found = [
        f"{page.relative_to(ROOT)}, at {block.opening!r}: {', '.join(without)}"
        for block in blocks(page.read_text(encoding="utf-8"))
        if (without := figures_without_source(block))
    ]
    assert not found, "\n".join(["Say where these are from, see 'Figures in prose' in CONTRIBUTING.md:", *found])


# The rules themselves

GAIN = {"estimate": 0.16449, "low": 0.125, "high": 0.2042, "p_adjusted": 0.006}
RECORD = {
    "rows": [
        {"name": "base", "score": 0.38466, "em": 0.25, "n": 1000, "matrix_bytes": 21_472_136, "cosine": 0.9697},
        {"name": "lora", "score": 0.54915, "score_difference": GAIN, "settings": {"lora.rank": 16}},
        {"name": "rate_1e-3", "score": 0.5, "share_of_ceiling": {"estimate": 0.75, "low": 0.71, "high": 0.79}},
    ],
    "bytes": {"matrix_bytes_original": 56_623_104},
    "interactions": [{"name": "of_lora", "difference": {"estimate": -0.0123, "low": -0.03, "high": 0.005}}],
    "codecs": [{"metrics": [{"name": "use", "value": 0.945312, "unit": "share"}]}],
    "cells": [
        {"questions": 100, "covered": 0.977, "threshold": None},
        {"questions": 1000, "covered": 0.957, "threshold": 0.4},
    ],
}


def wrong(page):
    """What is wrong with the statements of a page, of the record above."""
    return [one for block in blocks(page) for one in wrong_figures(block, {"mine": RECORD}.__getitem__)]


def sourceless(page):
    """The decimals of a page that say no source."""
    return [one for block in blocks(page) for one in figures_without_source(block)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("base", 38.466),
        ("base.em", 25.0),
        ("base.n", 1000),
        ("base.cosine", 0.9697),
        ("base.matrix_bytes", 21.472136),
        ("bytes.matrix_bytes_original", 56.623104),
        ("lora - base", 16.449),
        ("-lora.score_difference", -16.449),
        ("lora.score_difference.p_adjusted", 0.006),
        ("lora.settings.lora.rank", 16),
        ("rate_1e-3", 50.0),
        ("rate_1e-3.share_of_ceiling.low", 71.0),
        ("interactions.of_lora", -1.23),
        ("interactions.of_lora.difference.high", 0.5),
        ("codecs.0.metrics.use", 94.5312),
        ("1 - cells.0.covered", 2.3),
        ("max(base, lora, rate_1e-3)", 54.915),
        ("min(cells.0.covered, cells.1.covered)", 95.7),
        ("cells.1.questions / cells.0.questions", 10.0),
    ],
)
def test_an_expression_is_computed_in_the_unit_of_its_fields(expression, expected):
    assert evaluate(RECORD, expression) == pytest.approx(expected)


def test_a_ratio_is_in_percent_where_the_figure_is():
    assert evaluate(RECORD, "cells.0.questions / cells.1.questions", percent=True) == 10.0
    assert wrong("10 % and 0.1\n<!-- figures mine: 10 % = cells.0.questions / cells.1.questions -->") == []
    assert wrong("10 % and 0.1\n<!-- figures mine: 0.1 = cells.0.questions / cells.1.questions -->") == []


@pytest.mark.parametrize("expression", ["nobody", "base.f2", "cells.2", "base.name", "base + lora", "min(base)", ""])
def test_what_the_record_lacks_or_nobody_can_read_is_refused(expression):
    with pytest.raises(SourceError):
        evaluate(RECORD, expression)


def test_figures_of_the_record_are_right_with_and_without_signs_separators_and_intervals():
    page = """LoRA gains +16.4 points (12.5 to 20.4) to 54.9, of 1,000 questions, 75 % (71 to 79) of the way; 1.2 less.
<!-- figures mine: 16.4 (12.5 to 20.4) = lora.score_difference; 54.9 = lora; 1,000 = base.n;
75 % (71 to 79) = rate_1e-3.share_of_ceiling; 1.2 (-0.5 to 3.0) = -interactions.of_lora.difference -->"""
    assert wrong(page) == ["-0.5 is stated, and does not occur there", "3.0 is stated, and does not occur there"]
    assert sourceless(page) == []


def test_a_difference_of_rounded_figures_is_found_with_the_right_figure():
    # 54.915 - 38.466 = 16.449, where 54.9 - 38.5 would be 16.4 and 55 - 38.5 16.5
    assert wrong("Gains 16.4.\n<!-- figures mine: 16.4 = lora - base -->") == []
    assert wrong("Gains 16.5.\n<!-- figures mine: 16.5 = lora - base -->") == [
        "16.5 is stated for lora - base, the record has 16.4"
    ]


@given(
    low=st.integers(0, 1_000_000),
    high=st.integers(0, 1_000_000),
    places=st.integers(0, 3),
    steps=st.sampled_from([-1, 1]),
)
def test_a_figure_is_right_where_it_is_the_value_rounded_and_wrong_a_step_beside_it(low, high, places, steps):
    value = (high - low) / 10_000
    rounded = round(value, places)
    assert rounds_to(f"{rounded:+.{places}f}", value)
    beside = rounded + steps * 10.0**-places
    tie = abs(abs(value - beside) - 0.5 * 10.0**-places) < 1e-7  # half a step may go either way
    assert rounds_to(f"{beside:.{places}f}", value) == tie


def test_a_statement_belongs_to_its_own_paragraph_list_item_or_table_and_a_heading_to_what_follows():
    page = """# A gain of 16.4

It has 54.9 and 38.5.

- First 54.9
  <!-- figures mine: 54.9 = lora -->
- Second 38.5, wrapped, to
  54.9

| | F1 |
| --- | --- |
| lora | 54.9 |
<!-- figures mine: 54.9 = lora; 38.5 = base -->
"""
    assert sourceless(page) == ["16.4", "54.9", "38.5", "38.5", "54.9"]
    assert wrong(page) == ["38.5 is stated, and does not occur there"]


def test_code_generated_sections_names_and_the_targets_of_links_need_no_source():
    page = """SQuAD v1.1, Llama-3.1-8B, Section 2.8, Python 3.10,
`rate=0.01`, [page](notes-1.5.md#to-2.5), 2026-11-23.

<!-- thinwire: begin results mine -->
54.9
<!-- thinwire: end results mine -->

```
16.4
```

    reach + 0.84
"""
    assert sourceless(page) == []
    assert sourceless("weights from 0.1-0.5, -1.5, [8.5 points](page.md), ![to 2.5](chart.svg), 1,234.5, 99.9%.") == [
        *("0.1", "0.5", "-1.5", "8.5", "2.5", "1,234.5", "99.9")
    ]


def test_figures_as_given_are_exempt_say_why_and_occur():
    page = "Weights 0.01 and 0.5.\n<!-- figures as given (settings): 0.01, 0.5, 0.7 -->"
    assert sourceless(page) == []
    assert wrong(page) == ["0.7 is stated, and does not occur there"]
    assert "expected 'FIGURE = FIELD'" in wrong("0.5\n<!-- figures mine: as given: 0.5 -->")[0]


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("figures mine: 54.9 = nobody", "the record has no 'nobody' at nobody"),
        ("figures mine: 54.9 lora", "expected 'FIGURE = FIELD'"),
        ("figures 54.9 = lora", "is expected to begin with 'RECORD: '"),
        ("figures as given (x): 54.9; 54.9 = lora", "expected 'FIGURE = FIELD' of a record"),
    ],
)
def test_a_comment_that_cannot_be_held_to_a_record_is_told(comment, said):
    (found,) = wrong(f"It has 54.9.\n<!-- {comment} -->")
    assert said in found


TABLE = """| questions | covered | missed | threshold |
| --- | --- | --- | --- |
| 100 | 97.7 % | 2.3% | never |
| 1,000 | 95.7 % | 4.3% | 40 % |
<!-- figures mine, rows of cells: questions; covered; 1 - covered; threshold -->"""


def test_the_rows_of_a_table_are_the_elements_of_a_list():
    assert wrong(TABLE) == []
    assert sourceless(TABLE) == []
    (found,) = wrong(TABLE.replace("4.3%", "4.4%"))
    assert found.endswith("states 4.4 for 1 - covered, the record has 4.3")
    (found,) = wrong(TABLE.replace("40 %", "never"))
    assert "has 3 numbers, the record 4: questions, covered, 1 - covered, threshold" in found
    assert wrong(TABLE.replace("; threshold", "; limit"))[-1] == "no element of cells has limit"
    assert wrong(TABLE.replace("| 100 | 97.7 % | 2.3% | never |\n", "")) == ["the table has 1 rows, cells makes 2"]


def test_a_row_can_be_made_from_several_elements():
    page = """| paired |
| --- |
| 97.7 / 95.7 |
<!-- figures mine, rows of 2 of cells: 0.covered; 1.covered -->"""
    assert wrong(page) == []
    assert wrong(page.replace("95.7", "95.8"))[0].endswith("states 95.8 for 1.covered, the record has 95.7")


def test_a_comment_is_read_into_its_parts():
    found = statements("mine, rows of 8 of cells.cells: 0.covered; 1.covered")
    assert (found.record, found.elements, found.size, found.each) == (
        *("mine", "cells.cells", 8),
        ("0.covered", "1.covered"),
    )
    assert plain("+1,234.50") == "1234.50"
    assert Block("one two", ()).opening == "one two"
