"""Sweeps that are killed, at any moment and at any change of a file, end like sweeps that were not."""

import random
import signal
import time

import pytest

from fault_runs import KINDS, differences, resumed_until_done, spread

pytestmark = pytest.mark.slow

MOMENTS = {"one by one": (1, 15), "in a group": (1, 25), "side by side": (0, 3), "on a GPU": (2, 12)}
MOMENTS |= {"in blocks": (2, 15)}
"""Sweeps killed at random moments, in the short form and in the long one."""

CHANGES = {"one by one": (1, 60), "in a group": (3, 80), "on a GPU": (2, 16)}
"""Changes of files at which a sweep is killed."""


@pytest.mark.parametrize("way", MOMENTS)
def test_a_sweep_killed_at_random_moments_ends_like_one_that_was_not(way, runs, undisturbed, long_form, tmp_path):
    number = MOMENTS[way][long_form]
    if not number:
        pytest.skip("only in the long form: its processes take long to start")
    file, expected, seconds, _ = undisturbed(way)
    drawn, fell_short = random.Random(way), {}  # noqa: S311
    for case in range(number):
        run = tmp_path / str(case)
        # Each learns from texts itself.
        cache = tmp_path / f"cache-{case}" if way == "in blocks" else None
        for _ in range(1 + case % 3):  # some are killed again while they go on
            started = runs.start("sweep", file, "--output", run, "--resume", cache=cache)
            time.sleep(drawn.uniform(0, seconds))
            started.send(signal.SIGKILL)
            started.wait()
        wrong = resumed_until_done(runs, file, run, cache=cache) or differences(run, expected)
        if cache and (left := [path.name for path in (cache / "adapters").glob("*/*")]):
            wrong = wrong or f"left in the cache: {left}"
        if wrong:
            fell_short[case] = wrong
    assert fell_short == {}, f"{len(fell_short)} of {number}"


@pytest.mark.parametrize("way", CHANGES)
def test_a_sweep_killed_at_any_change_of_a_file_ends_like_one_that_was_not(way, runs, undisturbed, long_form, tmp_path):
    file, expected, _, calls = undisturbed(way)
    fell_short, places = {}, spread(calls, CHANGES[way][long_form])
    for place in places:
        run = tmp_path / str(place)
        faults = {"FAULT_FOLDER": str(run), "FAULT_KINDS": KINDS, "FAULT_AT": str(place), "FAULT_ERRNO": "0"}
        killed = runs.run("sweep", file, "--output", run, **faults)
        wrong = None if killed.code in (0, -signal.SIGKILL) else f"exit code {killed.code}: {killed.said}"
        wrong = wrong or resumed_until_done(runs, file, run) or differences(run, expected)
        if wrong:
            fell_short[place] = wrong
    assert fell_short == {}, f"{len(fell_short)} of {len(places)}"
