import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.postprocess import first_line


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ("1843", "1843"),
        ("  1843 \n\nQuestion: what next?", "1843"),
        ("\n \t\r\n1843\r\nmore", "1843"),
        ("two words\n", "two words"),
        ("", ""),
        (" \n \n", ""),
    ],
)
def test_an_answer_is_its_first_line_that_says_something(raw, line):
    assert first_line(raw) == line


@given(st.text())
@settings(derandomize=True, deadline=None)
def test_a_first_line_is_one_stripped_line_of_the_text_and_its_own_first_line(raw):
    line = first_line(raw)
    assert line in raw
    assert line.splitlines() == ([line] if line else [])
    assert first_line(line) == line == line.strip()
    assert bool(line) is bool(raw.strip())
