"""Disks that are really full, and folders that cannot hold results."""

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager

import pytest

from fault_runs import differences, resumed_until_done

pytestmark = pytest.mark.slow

SIZES = (["256k"], ["96k", "120k", "144k", "168k", "192k", "224k", "256k", "288k", "320k", "344k"])
"""Sizes of disks that are too small for a sweep, in the short form and in the long one."""


@contextmanager
def mounted(place, *options):
    """Mount a disk in memory at ``place``; skip the test where that is not allowed."""
    place.mkdir(exist_ok=True)
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    result = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", place], capture_output=True, check=False)
    if result.returncode:
        pytest.skip(f"no disk can be mounted here: {result.stderr.decode()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("way", ["in a group"])
def test_a_sweep_whose_disk_fills_up_says_so_and_goes_on_when_there_is_room(
    way, runs, undisturbed, long_form, tmp_path
):
    file, expected, _, _ = undisturbed(way)
    fell_short = {}
    for size in SIZES[long_form]:
        with mounted(tmp_path / size, "-o", f"size={size}") as disk:
            run = disk / "run"
            ended = runs.run("sweep", file, "--output", run)
            wrong = None
            if ended.code != 1 or not ended.is_clean or "free" not in ended.last_line:
                wrong = f"exit code {ended.code}: {ended.said}"
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            wrong = wrong or resumed_until_done(runs, file, run) or differences(run, expected)
        if wrong:
            fell_short[size] = wrong
    assert fell_short == {}, f"{len(fell_short)} of {len(SIZES[long_form])}"


def test_a_disk_that_is_read_only_is_refused(runs, undisturbed, tmp_path):
    file, _, _, _ = undisturbed("one by one")
    with mounted(tmp_path / "disk", "-o", "ro") as disk:
        ended = runs.run("sweep", file, "--output", disk / "run")
    assert ended.code == 2
    assert "may not be written to" in ended.last_line


def test_what_is_finished_can_be_read_from_a_disk_that_is_read_only(runs, undisturbed, inputs, tmp_path):
    undisturbed("in a group")
    with mounted(tmp_path / "disk") as disk:
        shutil.copytree(inputs / "whole in a group", disk / "run")
        shutil.copytree(runs.cache, disk / "cache")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for command in (
            ["compare", disk / "run"],
            ["best", disk / "run"],
            ["postprocess", disk / "run"],
            ["publish", disk / "run"],
            ["evaluate", disk / "run" / "r2", "--data", inputs / "test.json", "--samples", "2"],
        ):
            ended = runs.run(*command, cache=disk / "cache")
            assert ended.code == 0, (command, ended.said)
        ended = runs.run("report", disk / "run")
        assert ended.code == 1
        assert "cannot be written: Read-only file system (EROFS)" in ended.last_line


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("file", lambda path: path.write_text("mine"), "is a file; name a folder as the output folder"),
        ("link", lambda path: path.symlink_to("nowhere"), "is a link to nothing; name a folder"),
        ("file/below", lambda path: path.parent.write_text("mine"), "file is no folder"),
        ("x" * 300, lambda path: None, "the path of the output folder is too long"),
        ("a/" + "x" * 300, lambda path: None, "the path of the output folder is too long"),
        ("mine", lambda path: (path.mkdir(), (path / "thesis.tex").touch()), "holds other files (thesis.tex)"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--resume"], ["--dry-run"]])
def test_a_folder_that_cannot_hold_results_is_refused_and_nothing_is_left(
    name, make, reason, options, runs, undisturbed, tmp_path
):
    file, _, _, _ = undisturbed("one by one")
    make(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    ended = runs.run("sweep", file, "--output", tmp_path / name, *options)
    assert ended.code == 2, ended.said
    assert reason in ended.last_line
    assert ended.last_line.startswith("error: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_loser_of_two_sweeps_names_the_process_of_the_owner(runs, undisturbed, tmp_path):
    file, _, _, _ = undisturbed("in a group")
    owner = runs.start("sweep", file, "--output", tmp_path / "run")
    while not (tmp_path / "run" / ".workers" / "groups.json").exists():
        assert not owner.has_ended()
    owner.send(signal.SIGSTOP)  # it would be over before the other one has begun
    ended = runs.run("sweep", file, "--output", tmp_path / "run", "--resume")
    owner.send(signal.SIGCONT)
    assert ended.code == 2, ended.said
    assert f"(process {owner.pid} on {os.uname().nodename}); wait for it, or use" in ended.last_line
    assert owner.wait().code == 0
