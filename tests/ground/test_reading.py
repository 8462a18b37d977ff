"""Strict reads: what is no regular file of whole, unambiguous JSON is one error with file, line and cause."""

import os
import re
import socket
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from thinwire.errors import ThinwireError
from thinwire.reading import read_bytes, read_json, read_jsonl, read_rows
from thinwire.regular_file import check_regular

NO_JSON = {
    "empty": (b"", "line 1: no complete JSON"),
    "cut": (b'{"score": 0.5, "em', "line 1: no complete JSON"),
    "cut in line 3": (b'{\n"score": 0.5,\n"em', "line 3: no complete JSON"),
    "something behind it": (b"{} {}", "line 1: no complete JSON (Extra data"),
    "no UTF-8": (b'{\n"a": "\xff"}', "line 2: byte 0xff is no UTF-8 text"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "byte 0xff is no UTF-8 text"),
    "zeros": (b"\0" * 64, "no complete JSON"),
    "NaN": (b'{"score": NaN}', "NaN is no JSON; a missing value is null"),
    "infinity": (b'{"score": -Infinity}', "-Infinity is no JSON"),
    "beyond floats": (b'{"score": 1e999}', "'1e999' is beyond all numbers"),
    "5,000 digits": (b'{"n": ' + b"7" * 5000 + b"}", "Exceeds the limit"),
    "a key twice": (b'{"score": 0.5, "score": 0.6}', "the key 'score' stands twice in one object"),
    "a key twice inside": (b'{"a": [{"score": 0.5, "score": 0.5}]}', "the key 'score' stands twice in one object"),
    "nested": (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
    "nested objects": (b'{"a":' * 100_000, "nested too deep"),
    "half a character": (b'{"a": "\\ud800"}', "is no Unicode text"),
    "half a character as a key": (b'{"\\udfff": 1}', "is no Unicode text"),
}


@pytest.mark.parametrize("case", NO_JSON)
def test_what_is_no_json_is_an_error_that_says_file_line_and_cause(tmp_path, case):
    content, said = NO_JSON[case]
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(ThinwireError) as caught:
        read_json(tmp_path / "record.json")
    assert str(caught.value).startswith(str(tmp_path / "record.json"))
    assert said.partition(";")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pair_of_escaped_halves_is_a_character(tmp_path):
    (tmp_path / "record.json").write_text(r'{"a": "\ud83d\ude00"}')
    assert read_json(tmp_path / "record.json") == {"a": "\U0001f600"}


@pytest.mark.parametrize("content", [b'{"step": 1}\n{"st', b'{"step": 1}\n\n{"step": 3}\n', b'{"a": 1}\n{"a": NaN}\n'])
def test_a_broken_line_is_an_error_that_names_file_and_line(tmp_path, content):
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(ThinwireError, match=r"rows\.jsonl, line 2"):
        read_jsonl(tmp_path / "rows.jsonl")


class Row(TypedDict):
    id: str
    score: float


def test_a_row_of_another_type_is_an_error_that_names_line_entry_and_value(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "score": 1}\n{"id": "b", "score": "high"}\n')
    with pytest.raises(ThinwireError, match=r"rows\.jsonl, line 2: score: .* valid number.*, got 'high'"):
        read_rows(tmp_path / "rows.jsonl", TypeAdapter(list[Row]))


def folder(path):
    path.mkdir()


def fifo(path):
    os.mkfifo(path)


def dangling(path):
    path.symlink_to(path.with_name("nowhere"))


def circle(path):
    path.symlink_to(path)


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def outside(path):
    (path.parents[1] / "elsewhere.json").write_text("{}")
    path.symlink_to(path.parents[1] / "elsewhere.json")


def unreadable(path):
    path.write_text("{}")
    path.chmod(0)


INSTEAD = {
    "missing": (lambda path: None, "is missing; expected a file"),
    "folder": (folder, "is a folder; expected a file"),
    "pipe": (fifo, "is a pipe; expected a file"),
    "link to nothing": (dangling, "is a link to .*nowhere, which does not exist"),
    "circle of links": (circle, "is a link to itself; expected a file"),
    "socket": (bound_socket, "is a socket or device; expected a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "outside of"),
    "link out of the folder": (outside, "is a link to .*elsewhere.json, outside of"),
    "no permission": (unreadable, r"is unreadable \(Permission denied\); expected a file"),
}


@pytest.mark.parametrize("case", INSTEAD)
@pytest.mark.parametrize("read", [read_json, read_jsonl, read_bytes, check_regular])
def test_what_is_no_file_of_the_folder_is_an_error_and_nothing_waits(tmp_path, monkeypatch, case, read):
    if case == "no permission" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    run = tmp_path / "run"
    run.mkdir()
    make, said = INSTEAD[case]
    monkeypatch.chdir(run)
    make(run / "record.json")
    with pytest.raises(ThinwireError) as caught:
        read(run / "record.json", run)
    assert re.search(said, str(caught.value))


def test_a_file_of_a_terabyte_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "record.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ThinwireError, match=r"has 1,099,511,627,776 bytes, expected 2,147,483,648 at most"):
        read_json(tmp_path / "record.json")


def test_a_link_within_the_folder_is_followed(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    (tmp_path / "b.json").symlink_to("a.json")
    assert read_json(tmp_path / "b.json", tmp_path) == [1]


@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:0123456789.eE-+ \\und', max_size=40).map(str.encode))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_any_bytes_are_a_value_or_one_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    with suppress(ThinwireError):
        read_json(path)
