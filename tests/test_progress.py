"""Lines of progress where there is no terminal."""

import logging

import pytest

from thinwire import progress
from thinwire.progress import Display


@pytest.mark.parametrize(("first", "left"), [(1, "10 s"), (41, "6 s")])
def test_the_time_left_follows_from_what_was_done_since_the_beginning(first, left, monkeypatch, caplog):
    """A hundred steps of a tenth of a second. Those that an earlier run has done took this one no time."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with caplog.at_level(logging.INFO), Display().overall("training") as task:
        for step in (first, first + 1):
            clock[0] += 0.1
            task.update(step, 100, "loss 1")
    assert caplog.messages[-1] == f"training {first + 1}/100  loss 1  {left} left"
