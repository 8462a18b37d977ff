import errno
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json_values import JSON, TEXT
from thinwire.errors import StorageError, UsageError
from thinwire.files import (
    append_jsonl,
    checking,
    create_json,
    make_folder,
    move,
    remove_content,
    remove_file,
    remove_partial_files,
    replacing,
    replacing_folder,
    write_json,
    write_jsonl,
    write_text,
)
from thinwire.hard_links import has_hard_links
from thinwire.partial_files import is_partial
from thinwire.reading import read_json, read_jsonl


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, {"score": 0.5})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"score": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half\ud800")
    assert read_json(path) == {"score": 0.5}
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_file_appears_only_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "new" / "file"
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent  # a move within one folder is atomic
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_written_file_can_be_read_by_others(tmp_path):
    write_text(tmp_path / "summary.txt", "é\n")
    assert (tmp_path / "summary.txt").read_bytes() == "é\n".encode()
    assert (tmp_path / "summary.txt").stat().st_mode & 0o777 == 0o644


@given(st.lists(st.dictionaries(TEXT, JSON, max_size=3), min_size=1, max_size=4))
@settings(derandomize=True, max_examples=50, deadline=None)
def test_json_lines_are_read_back_as_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_jsonl(path, rows)
    assert read_jsonl(path) == rows


def test_a_file_without_lines_holds_no_rows(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [])
    assert read_jsonl(tmp_path / "rows.jsonl") == []


def test_a_text_with_a_unicode_line_separator_stays_on_one_line(tmp_path):
    rows = [{"text": "a\u2028b\x85c\nd"}, {"text": "e"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == rows


def test_a_file_that_cannot_be_opened_to_append_keeps_its_lines(tmp_path, monkeypatch):
    path = tmp_path / "file.jsonl"
    append_jsonl(path, {"step": 1})
    opened = Path.open

    def read_only(self, mode="r", *arguments, **options):
        if "a" in mode:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
        return opened(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", read_only)
    with pytest.raises(StorageError, match="Read-only file system"):
        append_jsonl(path, {"step": 2})
    assert path.read_text() == '{"step": 1}\n'


def test_appended_lines_can_be_read_while_the_run_goes_on(tmp_path):
    path = tmp_path / "diagnostics.jsonl"
    append_jsonl(path, {"step": 1})
    assert read_jsonl(path) == [{"step": 1}]
    append_jsonl(path, {"step": 2})
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]


def test_a_line_that_cannot_be_written_is_not_written_in_part(tmp_path):
    path = tmp_path / "diagnostics.jsonl"
    append_jsonl(path, {"step": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        append_jsonl(path, {"step": 2, "loss": float("nan")})
    assert read_jsonl(path) == [{"step": 1}]


@pytest.fixture
def full():
    """A file that is always on a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    return Path("/dev/full")


def test_a_line_on_a_full_disk_is_an_error_that_names_file_cause_and_free_space(full):
    message = r"/dev/full cannot be written: No space left on device \(ENOSPC\); [\d.,]+ GB are free there; free some"
    with pytest.raises(StorageError, match=message):
        append_jsonl(full, {"step": 1})


def test_an_error_in_the_block_of_a_replaced_file_is_one_of_that_file(full, tmp_path):
    write_text(tmp_path / "file", "old")
    with pytest.raises(StorageError, match=r"file cannot be written: No space left"), replacing(tmp_path / "file"):
        full.write_text("new")
    assert (tmp_path / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_folder_appears_only_as_a_whole(full, tmp_path):
    with replacing_folder(tmp_path / "checkpoint") as temporary:
        (temporary / "config.json").write_text("{}")
        assert not (tmp_path / "checkpoint").exists()
    assert (tmp_path / "checkpoint" / "config.json").read_text() == "{}"
    assert (tmp_path / "checkpoint").stat().st_mode & 0o777 == 0o755
    with pytest.raises(StorageError, match=r"other cannot be written"), replacing_folder(tmp_path / "other"):
        full.write_text("weights")
    assert list(tmp_path.iterdir()) == [tmp_path / "checkpoint"]


def test_errors_of_the_disk_inside_safetensors_are_understood(full, tmp_path):
    import torch
    from safetensors.torch import save_file

    with pytest.raises(StorageError, match=r"checkpoint cannot be written"), replacing_folder(tmp_path / "checkpoint"):
        save_file({"one": torch.zeros(1)}, tmp_path / "no" / "folder")


def test_only_files_are_replaced_and_links_stay_links(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", Path("/dev/null")):
        with pytest.raises(UsageError, match="is no ordinary file"):
            write_text(path, "text")
    (tmp_path / "link").symlink_to("target")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "text"


@pytest.mark.parametrize("name", ["record.json", "x" * 255, "ä" * 127])
def test_what_a_killed_process_leaves_is_recognised_and_removed(tmp_path, name):
    held = [replacing(folder / name) for folder in (tmp_path, tmp_path / "below")]  # never left, as in a killed process
    for one in held:
        write_text(one.__enter__().parent / "kept", "")
    assert len(list(tmp_path.rglob("*"))) == 5
    with replacing(tmp_path / name) as temporary:
        assert temporary.name.startswith(f".{name[:30]}"), "another one beside it"
        assert len([path for path in tmp_path.iterdir() if is_partial(path)]) == 2, "this process is running"
    (tmp_path / name).unlink()
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["below", "kept", "kept"]


def test_the_next_write_removes_what_a_killed_process_left_of_the_file(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from thinwire.files import replacing, replacing_folder
with replacing_folder(Path("folder")) as folder, replacing(Path("file.json")) as temporary:
    temporary.write_text("{")
    (folder / "config.json").write_text("{")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert len(list(tmp_path.iterdir())) == 2
    write_text(tmp_path / "file.json", "{}")
    with replacing_folder(tmp_path / "folder"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.json", "folder"]


def test_a_file_is_created_once(tmp_path):
    path = tmp_path / "record.json"
    create_json(path, {"of": "the first"})
    with pytest.raises(FileExistsError):
        create_json(path, {"of": "the second"})
    assert read_json(path) == {"of": "the first"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_a_link_whose_answer_was_lost_counts_as_made(tmp_path, monkeypatch):
    real = os.link

    def twice(source, target):  # as a network file system does that hears nothing of its first request
        real(source, target)
        real(source, target)

    monkeypatch.setattr(os, "link", twice)
    create_json(tmp_path / "record.json", 1)
    assert read_json(tmp_path / "record.json") == 1


def test_without_hard_links_a_file_is_created_unless_there_is_one(tmp_path, monkeypatch):
    assert has_hard_links(tmp_path)

    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert not has_hard_links(tmp_path)
    create_json(tmp_path / "record.json", 1)
    with pytest.raises(FileExistsError):
        create_json(tmp_path / "record.json", 2)
    assert read_json(tmp_path / "record.json") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_of_processes_that_create_a_file_at_once_one_succeeds(tmp_path):
    program = (
        "import sys, pathlib; from thinwire.files import create_json\n"
        "won = 0\n"
        "for n in range(300):\n"
        "    try: create_json(pathlib.Path(sys.argv[1]) / str(n), 0); won += 1\n"
        "    except FileExistsError: pass\n"
        "print(won)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert sum(int(process.communicate()[0]) for process in started) == 300


def test_a_written_folder_has_the_modes_of_the_umask_whatever_the_library_chose(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing_folder(tmp_path / "checkpoint") as temporary:
            (temporary / "inner").mkdir(mode=0o700)
            for name in ("private", "inner/weights"):
                (temporary / name).touch(mode=0o600)
    finally:
        assert os.umask(before) == 0o027, "the umask is as it was"
    found = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "checkpoint").rglob("*")}
    assert found == {"inner": "0o750", "private": "0o640", "weights": "0o640"}
    assert (tmp_path / "checkpoint").stat().st_mode & 0o777 == 0o750


def write_folder(path):
    with replacing_folder(path) as folder:
        (folder / "part").write_text("new")


CHANGES = {
    "replaced": lambda path: write_text(path, "new"),
    "created": lambda path: create_json(path.with_name("created.json"), 1),
    "appended to": lambda path: append_jsonl(path, 1),
    "removed": remove_file,
    "removed by its content": lambda path: remove_content(path, b"old"),
    "moved": lambda path: move(path, path.with_name("moved")),
    "a new folder": lambda path: make_folder(path.with_name("made")),
    "a written folder": lambda path: write_folder(path.with_name("written")),
}


class RefusedError(Exception):
    """A check's."""


@pytest.mark.parametrize("change", CHANGES)
def test_a_check_that_raises_keeps_a_change_from_being_made(tmp_path, change):
    path = tmp_path / "file.json"
    path.write_text("old")

    def refuse():
        raise RefusedError

    with pytest.raises(RefusedError), checking(refuse):
        CHANGES[change](path)
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {"file.json": "old"}
    CHANGES[change](path)
    assert {entry.name: entry.is_file() and entry.read_text() for entry in tmp_path.iterdir()} != {"file.json": "old"}


def test_checks_of_blocks_around_come_first_and_end_with_their_blocks(tmp_path):
    seen = []
    with checking(lambda: seen.append("outer")):
        with checking(lambda: seen.append("inner")):
            write_text(tmp_path / "a", "")
        write_text(tmp_path / "b", "")
    write_text(tmp_path / "c", "")
    assert seen == ["outer", "inner", "outer"]


def test_a_process_that_was_suspended_at_its_check_changes_nothing_of_what_another_has_taken(tmp_path):
    """Its temporary file is removed meanwhile, and the file that it appends to is replaced."""
    report, lines = tmp_path / "report", tmp_path / "lines"
    lines.write_text("1\n")

    def overtaken():
        (temporary,) = tmp_path.glob(".report.*")
        temporary.unlink()

    with pytest.raises(StorageError, match="ENOENT"), checking(overtaken):
        write_text(report, "late")
    left = tmp_path / ".report.12345678.other-1.partial"
    left.touch()
    begun = left.with_name(".report.87654321.other-1.partial")
    with checking(begun.touch):
        remove_partial_files(tmp_path)
    assert [path.name for path in tmp_path.glob(".*")] == [begun.name], "what was begun since then stays"
    other = tmp_path / "other"
    other.write_text("2\n")
    with checking(partial(other.replace, lines)):
        append_jsonl(lines, "late")
    assert lines.read_text() == "2\n"
    assert not report.exists()


def test_a_file_that_another_process_has_written_anew_is_not_removed(tmp_path):
    file = tmp_path / "record"
    file.write_text("cancelled")
    with checking(lambda: write_other(file)):
        remove_content(file, b"cancelled")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"record": "done"}
    remove_content(file, b"done")
    remove_content(file, b"done")
    assert not list(tmp_path.iterdir())


def write_other(file):
    """Replace a file as another process does, whose changes this one's checks do not see."""
    file.with_name("other").write_text("done")
    file.with_name("other").replace(file)
