"""Lines of progress where there is no terminal."""

import logging

import pytest

from thinwire import progress
from thinwire.progress import Display


@pytest.mark.parametrize(("before", "left"), [(0, "10 s"), (40, "6 s")])
def test_the_time_left_follows_from_what_was_done_since_the_beginning(before, left, monkeypatch, caplog):
    """A hundred steps of a tenth of a second. Those that an earlier run has done took this one no time."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with caplog.at_level(logging.INFO), Display().overall("training", before) as task:
        for step in (before + 1, before + 2):
            clock[0] += 0.1
            task.update(step, 100, "loss 1")
    assert caplog.messages[-1] == f"training {before + 2}/100  loss 1  {left} left"


def test_work_that_is_done_in_large_parts_is_told_as_it_is(monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with caplog.at_level(logging.INFO), Display().task("answering") as task:
        clock[0] = 24.0
        task.update(24, 50)
    assert caplog.messages == ["answering 24/50    26 s left"]
