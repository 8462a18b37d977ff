"""The entry point of the ``thinwire`` command: signals, errors and exit codes."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path

from thinwire import interruption


def main() -> None:
    """Run the command.

    Exit codes: 2 for a request that cannot be carried out, 1 for work that failed, 128 + N if signal N ended it.
    """
    interruption.install()  # first, because the imports take a moment
    words = f"; go on with: {again}" if (again := resume_command(sys.argv)) else ""
    with interruption.before_leaving(lambda: _write_at_once(f"left at once{words}")):
        try:
            _run(words)
        except (Exception, SystemExit, KeyboardInterrupt):  # also what a library has turned an interruption into
            number = interruption.received()
            if number is None:
                raise
            _say(f"interrupted by {signal.Signals(number).name}{words}")
            sys.exit(128 + number)
        finally:
            interruption.ignore()  # nothing is left to be interrupted


def _write_at_once(text: str) -> None:
    """Write a line on the standard error, also while another one is being printed."""
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode())


def _run(words: str) -> None:
    """Run the command, and turn its errors into one line and an exit code."""
    from thinwire.cli.app import app
    from thinwire.cli.arguments import make_help_plain
    from thinwire.errors import StorageError, ThinwireError
    from thinwire.progress import wants_plain

    if wants_plain():
        make_help_plain()
    logging.raiseExceptions = False  # a message that cannot be written is no reason to print a traceback
    try:
        app()
    except StorageError as error:
        _say(f"error: {error}{words}")
        sys.exit(error.exit_code)
    except ThinwireError as error:
        for line in error.lines:
            _say(f"error: {line}")
        sys.exit(error.exit_code)
    except OSError as error:  # of a file that another library reads or writes
        _say(f"error: {error.filename or 'a file'}: {error.strerror or error}{words}")
        sys.exit(1)


def resume_command(arguments: list[str]) -> str | None:
    """Return what goes on with a command that was interrupted; None if it cannot be gone on with.

    Args:
        arguments: ``sys.argv`` of the command.
    """
    program, *others = arguments
    if others[:1] not in (["sweep"], ["train"]) or "--dry-run" in others:
        return None
    name = [Path(program).name] if Path(program).name == "thinwire" else ["python", "-m", "thinwire"]
    return shlex.join([*name, *others, *([] if "--resume" in others else ["--resume"])])


def _say(text: str) -> None:
    """Print a line on the standard error, in red on a terminal."""
    from thinwire.cli.options import console

    try:
        console.print(text, markup=False, highlight=False, style="red", soft_wrap=True)
    except OSError:  # it is a file on the full disk, or a closed pipe
        return
