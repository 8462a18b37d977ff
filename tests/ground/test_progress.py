"""Progress as log lines, without a terminal."""

import logging

import pytest

from thinwire import progress
from thinwire.progress import Display


@pytest.mark.parametrize(("before", "left"), [(0, "10 s"), (40, "6 s")])
def test_the_time_left_is_estimated_from_the_steps_of_this_run(before, left, monkeypatch, caplog):
    """100 steps of 0.1 s each; steps of an earlier run are excluded from the estimate."""
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with caplog.at_level(logging.INFO), Display().overall("training", before) as task:
        for step in (before + 1, before + 2):
            clock[0] += 0.1
            task.update(step, 100, "loss 1")
    assert caplog.messages[-1] == f"training {before + 2}/100  loss 1  {left} left"


def test_a_late_first_update_is_logged_at_once(monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with caplog.at_level(logging.INFO), Display().task("answering") as task:
        clock[0] = 24.0
        task.update(24, 50)
    assert caplog.messages == ["answering 24/50    26 s left"]
