"""Worker processes: the same results as one after the other, and no process left however a sweep ends."""

import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from threading import Thread
from types import SimpleNamespace

import pytest
import yaml

from thinwire.errors import ThinwireError
from thinwire.experiment import worker_processes
from thinwire.experiment.sweep import run_sweep
from thinwire.progress import Display
from thinwire.results.arm_record import read_arm_record
from tiny_sweeps import ARMS, CONTROLS, LORA, NAMES, experiment, timeless

LONG = {"epochs": 100_000, "batch_size": 8}
"""Training that takes longer than any of these tests."""

pytestmark = pytest.mark.slow


def in_processes(folder, **changes):
    """Make an experiment whose layers are never compiled."""
    model = {"name": str(folder / "model"), "device": "cpu", "dtype": "float32", "compile": False}
    return experiment(folder, **{"model": model, "worker_processes": 2, "controls": {}, **changes})


def status_of(run, name):
    return read_arm_record(run / name).status


def wait_for(condition, seconds=300.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.05)


def have_started(run, *names):
    return all((run / name / "diagnostics.jsonl").exists() for name in names)


def test_arms_in_processes_have_the_results_of_arms_run_one_after_the_other(folder, tmp_path, set_threads, caplog):
    set_threads(1)
    everything = {"arms": ARMS, "controls": CONTROLS}
    alone = run_sweep(in_processes(folder, **everything, worker_processes=1), tmp_path / "alone", controls="all")
    set_threads(2)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="thinwire"):
        records = run_sweep(in_processes(folder, **everything), tmp_path / "beside", controls="all")
    assert [record.name for record in records] == [record.name for record in alone]
    for name in NAMES:
        one, other = tmp_path / "alone" / name, tmp_path / "beside" / name
        assert timeless(one / "diagnostics.jsonl") == timeless(other / "diagnostics.jsonl")
        assert (one / "predictions.jsonl").read_text() == (other / "predictions.jsonl").read_text()
        assert f"{other.name}: test F1" in next(other.glob("training_*.log")).read_text()
        assert f"{other.name}: test F1" in caplog.text, "the sweep logs the events of its processes"
    assert {record.environment.cpu_threads for record in records} == {1}, "each has one of the two cores"
    assert caplog.text.count("codec pca") == 1, "shared artifacts are made and logged once"


class RecordingDisplay(Display):
    """Records all tasks that were shown, and those shown now."""

    def __init__(self):
        self.shown, self.now, self.finished = [], [], []

    @contextmanager
    def task(self, name, before=0):
        self.shown.append(name)
        self.now.append(name)
        yield self
        self.now.remove(name)

    @contextmanager
    def overall(self, name, before=0):
        yield SimpleNamespace(update=lambda *done_and_total: self.finished.append(done_and_total))

    def update(self, done, total, metrics=""):
        assert 0 < done <= total


def test_a_failing_arm_ends_alone_and_all_progress_is_shown(folder, tmp_path):
    wrong = {"lora": {**LORA, "start_from": str(tmp_path / "run" / "baseline")}}
    arms = {"baseline": {}, "wrong": wrong, "r2": ARMS["r2"]}
    display = RecordingDisplay()
    records = run_sweep(in_processes(folder, arms=arms), tmp_path / "run", display=display)
    assert [record.status for record in records] == ["done", "failed", "done"]
    assert "baseline" in records[1].error
    assert {"baseline", "baseline: selection", "baseline: test", "r2", "r2: test"} <= set(display.shown)
    assert display.now == [], "all tasks have ended"
    assert display.finished == [(0, 3), (1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1, signal.SIGKILL])
def test_the_processes_of_an_interrupted_sweep_keep_their_arms_and_end_those_of_a_killed_one_end(
    number, folder, tmp_path
):
    made = in_processes(folder, training=LONG)
    (tmp_path / "file.yaml").write_text(yaml.safe_dump(made.model_dump(mode="json")))
    run = tmp_path / "run"
    command = [sys.executable, "-m", "thinwire", "sweep", str(tmp_path / "file.yaml"), "--output", str(run)]
    # A shell's background jobs ignore SIGINT, and so would the sweep if the tests were one.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **heard) as parent:
        try:
            wait_for(lambda: have_started(run, "baseline", "r2"))
        finally:
            parent.send_signal(number)
        output = parent.stderr.read()  # ends only when no process has the pipe open any more
    if number == signal.SIGKILL:
        assert parent.returncode == -number
        assert not list(run.glob("*/record.json"))
    else:
        assert parent.returncode == 128 + number
        assert (status_of(run, "baseline"), status_of(run, "r2")) == ("cancelled", "cancelled")
        assert len(list(run.glob("*/unfinished-*.safetensors"))) == 2, "each at its own step"
        assert f"interrupted by {number.name}; go on with: python -m thinwire sweep" in output
    assert "Traceback" not in output


def test_a_killed_process_loses_only_its_own_arm(folder, tmp_path, monkeypatch):
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments, **others):
            super().__init__(*arguments, **others)
            if worker_processes.__name__ in self.args:
                started.append(self.pid)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    run = tmp_path / "run"

    def kill():
        try:
            wait_for(lambda: have_started(run, "endless"))
        finally:
            os.kill(started[0], signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    arms = {"endless": {"training": LONG}, "baseline": {}, "r2": ARMS["r2"]}
    with pytest.raises(ThinwireError, match=r"endless \(exit code -9\).*--set worker_processes=1, and --resume"):
        run_sweep(in_processes(folder, arms=arms), run)
    killer.join()
    assert (status_of(run, "baseline"), status_of(run, "r2")) == ("done", "done")
    assert not (run / "endless" / "record.json").exists()
    ending = in_processes(folder, arms={**arms, "endless": {}}, worker_processes=1)
    assert [record.status for record in run_sweep(ending, run, resume=True)] == ["done"] * 3
