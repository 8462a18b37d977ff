"""Texts of others in tables, summaries, Markdown and pages: they have no effect on what shows them."""

import csv
import io

import pytest

from thinwire.report.compare import format_csv, inert
from thinwire.report.html.markup import text
from thinwire.report.markdown.tables import inert_markdown, line, one_line


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]8;;http://evil\x07link", r"\x1b]8;;http://evil\x07link"),
        ("\x9b2J\x00\x7f", r"\x9b2J\x00\x7f"),
        ("over\rwritten", r"over\rwritten"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("tab\tand\nline, caf\u00e9 \u6f22 \U0001f600 \\ 'q'", "tab\tand\nline, caf\u00e9 \u6f22 \U0001f600 \\ 'q'"),
    ],
)
def test_control_characters_are_written_as_escapes_and_all_others_stay(given, shown):
    assert inert(given) == shown


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-2+3", "@SUM(A1)", " =cmd|' /C calc'!A0", "\t=1"])
def test_no_cell_of_a_csv_is_a_formula(formula):
    (row,) = csv.DictReader(io.StringIO(format_csv([{"run": formula, "score": -0.5}])))
    assert row["run"].startswith("'")
    assert row["run"][1:] == formula
    assert row["score"] == "-0.5"


def test_usual_cells_of_a_csv_stay():
    assert format_csv([{"run": "r2_a4", "n": 3, "score": None}]) == "run,n,score\nr2_a4,3,"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("<!-- thinwire: end x -->", "&lt;!-- thinwire: end x -->"),
        ("![x](http://evil/?q)", r"![x]\(http://evil/?q)"),
        ("[x]: http://evil", r"[x]\: http://evil"),
        ("p < 0.05, a<1 and 3 > 2", "p < 0.05, a<1 and 3 > 2"),
        ("\x1b[2J", r"\x1b[2J"),
    ],
)
def test_markdown_has_no_html_links_or_images(given, shown):
    assert inert_markdown(given) == shown


def test_a_text_in_a_table_stays_in_its_cell():
    assert line(["a\n## heading", "b|c"]) == r"| a ## heading | b\|c |"
    assert one_line("a  b") == "a  b"


def test_control_characters_do_not_reach_a_page():
    assert text("<b>\x1b\x9b\u202e&") == "&lt;b&gt;\ufffd\ufffd\ufffd&amp;"
