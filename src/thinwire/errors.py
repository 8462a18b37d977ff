"""The two kinds of error that reach a person: they asked for something impossible, or the work failed. And what any
error says in short."""


class ThinwireError(Exception):
    """Work that was asked for correctly and failed (a wrong hash, a diverged run). Exit code 1."""

    exit_code = 1


class UsageError(ThinwireError, ValueError):
    """A request that cannot be carried out as given; the message says what to change. Exit code 2."""

    exit_code = 2


def summary(error: BaseException) -> str:
    """What an error says first, as a part of a sentence."""
    return str(error).strip().split("\n")[0].rstrip(".")
