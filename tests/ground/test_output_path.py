"""Paths to be written to: what is there or can be made, and what is refused before anything is written."""

import os

import pytest

from thinwire.errors import UsageError
from thinwire.output_path import check_output_file, check_output_folder, mode_at


def make_all(folder):
    (folder / "file").write_text("mine")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")


@pytest.mark.parametrize(("name", "is_there"), [("folder", True), ("new", False), ("new/a/b", False)])
def test_a_folder_is_there_or_can_be_made(tmp_path, name, is_there):
    make_all(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert check_output_folder(tmp_path / name, "output folder") == is_there
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file", "is a file; name a folder"),
        ("pipe", "is a file; name a folder"),
        ("link", "is a link to nothing"),
        ("loop", "cannot be looked at"),
        ("file/a/b", "file is no folder"),
        ("x" * 300, "too long"),
        ("a\nb", "cannot be printed"),
    ],
)
def test_what_can_be_no_folder_is_refused(tmp_path, name, reason):
    make_all(tmp_path)
    with pytest.raises(UsageError, match=reason):
        check_output_folder(tmp_path / name, "output folder")


@pytest.mark.parametrize(
    ("name", "reason"), [("folder", "is a folder; name a"), ("pipe", "no ordinary file"), ("file/a", "no folder")]
)
def test_what_can_be_no_file_is_refused(tmp_path, name, reason):
    make_all(tmp_path)
    with pytest.raises(UsageError, match=reason):
        check_output_file(tmp_path / name, "Markdown file")


@pytest.mark.parametrize("name", ["file", "new", "folder/new", "new/a"])
def test_a_file_may_be_there_or_be_made(tmp_path, name):
    make_all(tmp_path)
    check_output_file(tmp_path / name, "Markdown file")
    assert mode_at(tmp_path / "new", "Markdown file") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="may not be written to"):
        check_output_folder(tmp_path / "new", "output folder")
