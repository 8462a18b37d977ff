"""The package's errors: a request that cannot be carried out, or work that failed."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class ThinwireError(Exception):
    """A valid request failed (a wrong hash, a diverged run). Exit code 1.

    Its arguments are the lines of its message: one, or one for each setting that is wrong.
    """

    exit_code = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """The message's lines, each with whatever the input holds written in printable characters."""
        return tuple(printable(str(line)) for line in self.args)

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))


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


def printable(text: str) -> str:
    r"""Escape all characters but printable ones and spaces, as Python writes them: a line end becomes ``\n``.

    So nothing that a file, a name or an argument holds can move a terminal's cursor, change its colours or its reading
    direction, or pass for another line.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode("ascii") for one in text
    )


def shown(value: object, length: int = 80) -> str:
    """Write a value that was found in an input, in printable characters and cut to ``length`` of them."""
    text = printable(repr(value))
    return text if len(text) <= length else f"{text[: length - 4]} ..."


def all_shown(values: Iterable[object], most: int = 20) -> str:
    """Write values that were found in an input as ``shown`` does, and say how many there are beyond the first
    ``most``."""
    found = list(values)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return (", ".join(map(shown, found[:most])) or "none") + more


def check_finite(name: str, value: float) -> float:
    """Return ``value`` if it is finite.

    Raises:
        ThinwireError: ``value`` is NaN or infinite, which means that training diverged.
    """
    if not math.isfinite(value):
        raise ThinwireError(f"{name} became {value}; lower the learning rates or check the data")
    return value
