"""Escape codes on a terminal: none at all where the environment asks for none."""

import os
import pty
import sys

import pytest

from sweep_folder import write_run

EVERY_KIND = """
import logging, sys
from thinwire.cli import main
from thinwire.cli.options import progress_display

for arguments in (["--help"], ["sweep", "-h"], ["swep"], ["compare", FOLDER]):
    sys.argv = ["thinwire", *arguments]
    try:
        main.main()
    except SystemExit:
        pass
with progress_display() as display, display.overall("training") as task:
    logging.getLogger("thinwire").warning("a message")
    task.update(1, 2, "loss 0.5")
"""
"""Help, an error, a table, a message and progress, in one process."""


def on_a_terminal(code, **environment):
    """Return what a Python program writes on a terminal."""
    child, terminal = pty.fork()
    if child == 0:
        plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLUMNS")}
        os.execve(sys.executable, [sys.executable, "-c", code], {**plain, **environment})  # noqa: S606
    written = b""
    while True:
        try:
            block = os.read(terminal, 1 << 16)
        except OSError:  # how Linux says that the other end was closed
            break
        if not block:
            break
        written += block
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, written
    return written.decode()


@pytest.mark.parametrize(
    ("environment", "is_plain"),
    [
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, False),  # an empty value asks for nothing: no-color.org
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1", "FORCE_COLOR": "1"}, True),
        ({"TERM": "dumb"}, True),
    ],
)
def test_no_output_has_escape_codes_where_none_are_wanted(environment, is_plain, tmp_path):
    run = write_run(tmp_path / "run")
    written = on_a_terminal(EVERY_KIND.replace("FOLDER", repr(str(run))), **environment)
    for part in ("Usage:", "no such command", "r8_a8", "a message", "training"):
        assert part in written, part
    assert ("\x1b" not in written) == is_plain
