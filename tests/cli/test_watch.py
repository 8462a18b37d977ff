"""When ``thinwire status --watch`` ends."""

import os
import time

import pytest
from typer.testing import CliRunner

from thinwire.cli import workers
from thinwire.config.experiment import Experiment
from thinwire.experiment.request import SweepRequest, write_request
from thinwire.experiment.run_claims import RunClaims
from thinwire.schema import build


def watched(run, monkeypatch, after_a_look=lambda: pytest.fail("it looks again")):
    """Watch a run; ``after_a_look`` is called in place of each pause."""
    monkeypatch.setattr(workers.time, "sleep", lambda seconds: after_a_look())
    told = CliRunner().invoke(workers.workers_app, ["status", str(run), "--watch"], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    return " ".join(told.output.split())


@pytest.fixture
def asked(tmp_path):
    """The folder of a run that no worker has begun, which was asked for an hour ago."""
    arms = {"name": "tiny", "baseline": "a", "arms": {"a": {}}}
    write_request(tmp_path / "run", SweepRequest(experiment=build(Experiment, arms, where="")))
    long_ago = time.time() - 3600
    os.utime(tmp_path / "run" / ".workers" / "request.json", (long_ago, long_ago))
    return tmp_path / "run"


def test_a_run_that_nobody_goes_on_with_is_watched_no_longer(asked, monkeypatch):
    assert "No worker is at work, and none is expected" in watched(asked, monkeypatch)
    RunClaims(asked).ask_to_stop()
    assert "It was cancelled, and no worker is at work" in watched(asked, monkeypatch)


def test_a_run_is_watched_until_its_worker_has_gone(asked, monkeypatch):
    worker = RunClaims(asked).take("worker-1").__enter__()
    said = watched(asked, monkeypatch, lambda: worker.__exit__(None, None, None))
    assert said.count("0 of 1 done, 1 waiting") == 2
    assert said.count("No worker is at work") == 1
