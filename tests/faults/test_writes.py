"""Changes of files that fail, one or all from a moment on: one line that says why, and a sweep that can be resumed."""

import errno
import os

import pytest

from fault_runs import KINDS, differences, resumed_until_done, spread

pytestmark = pytest.mark.slow

ERRORS = {
    "ENOSPC": errno.ENOSPC,
    "EDQUOT": errno.EDQUOT,
    "EROFS": errno.EROFS,
    "EACCES": errno.EACCES,
    "EIO": errno.EIO,
}
WAYS = ("one by one", "in a group")

CASES = [(way, error, lasting) for way in WAYS for error in ERRORS for lasting in (False, True)]
SHORT = [(WAYS[n % 2], error, n % 3 == 0) for n, error in enumerate(ERRORS)]
"""The cases that the short form tries, at one place; the long form tries all, at five."""


def shortcomings(ended, code):
    """Return what is wrong with how a sweep ended whose change of a file failed with ``code``; None if nothing is."""
    if not ended.is_clean:
        return f"a traceback: {ended.said}"
    if ended.code == 0:
        return None  # a message of a log, or a leftover that was removed later
    last = ended.said.strip().split("\n")[-2]  # the last line is the shim's
    if ended.code not in (1, 2) or not last.startswith("error: "):
        return f"exit code {ended.code}: {ended.said}"
    return None if os.strerror(code) in last else f"no cause: {last}"


@pytest.mark.parametrize(("way", "error", "lasting"), CASES)
def test_a_change_that_fails_is_told_in_a_line_and_the_sweep_can_be_resumed(
    way, error, lasting, runs, undisturbed, long_form, tmp_path
):
    if not long_form and (way, error, lasting) not in SHORT:
        pytest.skip("only in the long form")
    file, expected, _, calls = undisturbed(way)
    number, code = 5 if long_form else 1, ERRORS[error]
    start = 1 + 7 * list(ERRORS).index(error) + 3 * lasting  # other places for each error
    fell_short, places = {}, [min(calls, place + start) for place in spread(calls - 40, number + 2)[1:-1]]
    for place in places:
        run = tmp_path / str(place)
        faults = {"FAULT_FOLDER": str(run), "FAULT_KINDS": KINDS, "FAULT_AT": str(place), "FAULT_ERRNO": str(code)}
        ended = runs.run("sweep", file, "--output", run, **faults, FAULT_LASTING=str(int(lasting)))
        wrong = shortcomings(ended, code) or resumed_until_done(runs, file, run) or differences(run, expected)
        if wrong:
            fell_short[place] = wrong
    assert fell_short == {}, f"{len(fell_short)} of {len(places)}"


@pytest.mark.parametrize("error", ERRORS)
def test_the_first_changes_that_fail_leave_nothing_behind(error, runs, undisturbed, tmp_path):
    file, _, _, _ = undisturbed("one by one")
    run = tmp_path / "a" / "b"
    faults = {"FAULT_FOLDER": str(run), "FAULT_KINDS": KINDS, "FAULT_AT": "1", "FAULT_ERRNO": str(ERRORS[error])}
    ended = runs.run("sweep", file, "--output", run, **faults, FAULT_LASTING="1")
    assert shortcomings(ended, ERRORS[error]) is None
    assert ended.code == (1 if error in ("ENOSPC", "EDQUOT") else 2)
    assert list(tmp_path.iterdir()) == []
