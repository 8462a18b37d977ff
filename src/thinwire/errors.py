"""The package's errors: a request that cannot be carried out, or work that failed."""

import math


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


def summary(error: BaseException) -> str:
    """Return the first line of an error's message, without the full stop."""
    return str(error).strip().split("\n")[0].rstrip(".")


def check_finite(name: str, value: float) -> float:
    """Return ``value`` if it is finite.

    Raises:
        ThinwireError: ``value`` is NaN or infinite, which means that training diverged.
    """
    if not math.isfinite(value):
        raise ThinwireError(f"{name} became {value}; lower the learning rates or check the data")
    return value
