"""One way to open a file: what is in its place is named the same for users', models' and the package's own files."""

import os
import socket

import pytest

from thinwire.errors import ThinwireError, UsageError
from thinwire.inputs import NoFileError, opened
from thinwire.model.safe_json import check_regular as check_models_file
from thinwire.model.safe_json import read_object
from thinwire.reading import read_bytes
from thinwire.regular_file import NotRegularError, open_beginning, open_regular


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


FOUND = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a link to nowhere, which does not exist": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a socket or device": bound_socket,
    "a device": lambda path: path.symlink_to("/dev/null"),
    "unreadable (Input/output error)": lambda path: path.symlink_to("/proc/self/mem"),
}


@pytest.mark.parametrize("found", FOUND)
def test_each_reader_names_what_is_in_the_place_of_a_file(tmp_path, found):
    path = tmp_path / "f"
    FOUND[found](path)
    with pytest.raises(NotRegularError) as caught:
        open_beginning(path)
    assert (caught.value.found, caught.value.exit_code) == (found, 1)
    if found != "unreadable (Input/output error)":  # it is a file, which fails when it is read
        with pytest.raises(NotRegularError, match="expected a file"):
            open_regular(path)
    with pytest.raises(ThinwireError) as caught:
        read_bytes(path)
    assert caught.value.exit_code == 1
    for read in (check_models_file, read_object):
        with pytest.raises(UsageError) as caught:
            read(path, "model m: config.json")
        assert str(caught.value) == f"model m: config.json is {found}; put the file itself there"
    with pytest.raises(UsageError) as caught, opened(path, "data file"):
        pass
    if found in ("missing", "a link to nowhere, which does not exist"):
        assert isinstance(caught.value, NoFileError)
    else:
        assert str(caught.value) == f"the data file {path} is {found}; expected an ordinary file"


def test_a_name_that_no_file_can_have_is_no_file():
    with pytest.raises(NotRegularError, match="no name of a file"):
        open_regular("a\0b")


@pytest.mark.parametrize(("content", "rest"), [(b"\xef\xbb\xbf{}", b"{}"), (b"{}", b"{}"), (b"", b"")])
def test_a_byte_order_mark_is_passed_over_once(tmp_path, content, rest):
    (tmp_path / "f").write_bytes(content)
    file, beginning = open_beginning(tmp_path / "f")
    with file:
        assert (beginning, file.read()) == (content, rest)


def test_a_pointer_of_git_lfs_is_told_by_both_readers_of_files_from_elsewhere(tmp_path):
    path = tmp_path / "f"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(UsageError, match="Git LFS pointer"), opened(path, "data file"):
        pass
    with pytest.raises(UsageError, match="Git LFS pointer"):
        check_models_file(path, "model m: tokenizer.json")
