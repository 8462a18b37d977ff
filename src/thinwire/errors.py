"""The package's errors: a request that cannot be carried out, or work that failed."""

import math
from collections.abc import Iterator
from contextlib import contextmanager


class ThinwireError(Exception):
    """A valid request failed (a wrong hash, a diverged run). Exit code 1."""

    exit_code = 1


class UsageError(ThinwireError, ValueError):
    """The request cannot be carried out as given; the message says what to change. Exit code 2."""

    exit_code = 2


class StorageError(ThinwireError):
    """A file cannot be written: the disk is full or read-only, for example. Exit code 1.

    It is no failure of the arm that was running, so it ends the sweep, which can be resumed.
    """


_LONGEST_SUMMARY = 300


def summary(error: BaseException) -> str:
    """Return the first line of an error's message, 300 characters of it at most, without the full stop; with the next
    line if it ends in a colon."""
    first, _, rest = str(error).strip().partition("\n")
    line = (f"{first} {rest.strip().partition(chr(10))[0]}" if first.endswith(":") else first).rstrip(".")
    return line if len(line) <= _LONGEST_SUMMARY else f"{line[:_LONGEST_SUMMARY]} ..."


@contextmanager
def foreign(doing: str) -> Iterator[None]:
    """Turn whatever fails in the block, in which a library reads files that others made, into one ``UsageError``.

    Such a library lets errors of every kind through, as its own code or a file's content goes wrong: ``TypeError``,
    ``RecursionError``, ``UnicodeError``, and the panics of compiled code, which are no ``Exception``. Errors of this
    package and interruptions pass.

    Args:
        doing: what failed, as the beginning of the message: ``the tokenizer of MODEL cannot be read``.
    """
    try:
        yield
    except (ThinwireError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        raise UsageError(f"{doing} ({kind}{summary(error) or 'no reason given'})") from error


def check_finite(name: str, value: float) -> float:
    """Return ``value`` if it is finite.

    Raises:
        ThinwireError: ``value`` is NaN or infinite, which means that training diverged.
    """
    if not math.isfinite(value):
        raise ThinwireError(f"{name} became {value}; lower the learning rates or check the data")
    return value
