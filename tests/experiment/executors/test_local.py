"""Worker processes: the same results as one after the other, and no process left however a sweep ends."""

import logging
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from threading import Thread
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
import yaml

from thinwire.errors import ThinwireError
from thinwire.experiment.executors import worker, worker_process
from thinwire.experiment.executors.cancel import cancel
from thinwire.experiment.executors.worker_process import processes_for_gpus
from thinwire.experiment.group_queue import claim_name
from thinwire.experiment.run_claims import RunClaims
from thinwire.experiment.sweep import run_sweep
from thinwire.progress import Display
from thinwire.results.arm_record import read_arm_record
from tiny_sweeps import ARMS, CONTROLS, NAMES, experiment, have_started, timeless, wait_for

LONG = {"epochs": 100_000, "batch_size": 8}
"""Training that takes longer than any of these tests."""

pytestmark = pytest.mark.slow


def in_processes(folder, **changes):
    """Make an experiment whose layers are never compiled."""
    model = {"name": str(folder / "model"), "device": "cpu", "dtype": "float32", "compile": False}
    return experiment(folder, **{"model": model, "worker_processes": 2, "controls": {}, **changes})


def status_of(run, name):
    return read_arm_record(run / name).status


def test_arms_in_processes_have_the_results_of_arms_run_one_after_the_other(folder, tmp_path, set_threads, caplog):
    set_threads(1)
    everything = {"arms": ARMS, "controls": CONTROLS}
    alone = run_sweep(in_processes(folder, **everything, worker_processes=1), tmp_path / "alone", controls="all")
    set_threads(2)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="thinwire"):
        records = run_sweep(
            in_processes(folder, **everything), tmp_path / "beside", controls="all", track=["tensorboard"]
        )
    assert [record.name for record in records] == [record.name for record in alone]
    for name in NAMES:
        one, other = tmp_path / "alone" / name, tmp_path / "beside" / name
        assert timeless(one / "diagnostics.jsonl") == timeless(other / "diagnostics.jsonl")
        assert (one / "predictions.jsonl").read_text() == (other / "predictions.jsonl").read_text()
        assert f"{other.name}: test F1" in next(other.glob("training_*.log")).read_text()
        assert f"{other.name}: test F1" in caplog.text, "the sweep logs the events of its processes"
    assert {record.environment.cpu_threads for record in records} == {1}, "each has one of the two cores"
    told = {path.parent.name for path in (tmp_path / "beside" / "tensorboard").glob("*/events.*")}
    assert told == {record.name for record in records}, "each process reports the arms that it runs"
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
    arms = {"baseline": {}, "wrong": {"training": {"adapter_lr": 1e30}}, "r2": ARMS["r2"]}
    display = RecordingDisplay()
    records = run_sweep(in_processes(folder, arms=arms), tmp_path / "run", display=display)
    assert [record.status for record in records] == ["done", "failed", "done"]
    assert "became nan" in records[1].error
    assert {"baseline", "baseline: selection", "baseline: test", "r2", "r2: test"} <= set(display.shown)
    assert display.now == [], "all tasks have ended"
    assert display.finished == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_an_arm_waits_for_its_teacher_which_another_process_trains(folder, tmp_path, caplog):
    taught = {"codec": {"ratio": 2}, "supervision": {"kd_weight": 1.0, "teacher": str(tmp_path / "run" / "r2")}}
    arms = {"taught": taught, "baseline": {}, "r2": ARMS["r2"]}
    with caplog.at_level(logging.DEBUG, logger="thinwire"):
        records = run_sweep(in_processes(folder, arms=arms), tmp_path / "run")
    assert "not made beforehand" not in caplog.text, "its codec is made while its teacher is not there yet"
    assert [record.status for record in records] == ["done", "done", "done"]
    assert "r2, which teaches" in next((tmp_path / "run" / "taught").glob("training_*.log")).read_text()


def num_lines(path):
    return path.read_text().count("\n") if path.exists() else 0


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
            # The line before the steps, and two steps: an arm that is interrupted in its first one has nothing to keep.
            wait_for(lambda: all(num_lines(run / name / "diagnostics.jsonl") > 2 for name in ("baseline", "r2")))
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


class Recorded(subprocess.Popen):
    """Records the worker processes that are started."""

    started: ClassVar[list[int]] = []

    def __init__(self, *arguments, **others):
        super().__init__(*arguments, **others)
        if worker.__name__ in self.args:
            self.started.append(self.pid)


@pytest.fixture
def started(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    monkeypatch.setattr(Recorded, "started", [])
    return Recorded.started


def test_an_arm_whose_process_is_killed_is_run_by_another_one(folder, tmp_path, started, set_threads, caplog):
    set_threads(2)  # one for each process
    run = tmp_path / "run"

    def kill():
        wait_for(lambda: have_started(run, "long"))
        owners = {one.name: one.owner.process for one in RunClaims(run).live() if one.owner}
        os.kill(owners[claim_name(["long"])], signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    arms = {"long": {"training": {"epochs": 40, "batch_size": 4}}, "baseline": {}, "r2": ARMS["r2"]}
    records = run_sweep(in_processes(folder, arms=arms, baseline="baseline"), run)
    killer.join()
    assert [record.status for record in records] == ["done"] * 3
    assert "a worker process has ended (exit code -9)" in caplog.text
    set_threads(1)
    run_sweep(in_processes(folder, arms=arms, worker_processes=1), tmp_path / "alone", only=["long"])
    one, other = run / "long", tmp_path / "alone" / "long"
    assert timeless(one / "diagnostics.jsonl") == timeless(other / "diagnostics.jsonl")
    assert (one / "predictions.jsonl").read_text() == (other / "predictions.jsonl").read_text()


def test_a_sweep_whose_processes_have_all_been_killed_fails_and_can_be_resumed(folder, tmp_path, started):
    run = tmp_path / "run"

    def kill():
        wait_for(lambda: have_started(run, "endless"))
        for process in started:
            os.kill(process, signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    arms = {"endless": {"training": LONG}, "baseline": {}}
    with pytest.raises(ThinwireError, match=r"all worker processes have ended \(exit codes -9, -9\).*--resume"):
        run_sweep(in_processes(folder, arms=arms), run)
    killer.join()
    ending = in_processes(folder, arms={**arms, "endless": {}}, worker_processes=1)
    assert [record.status for record in run_sweep(ending, run, resume=True)] == ["done"] * 2


def test_cancel_ends_a_sweep_in_processes_whose_program_handles_signals_itself(folder, tmp_path, started, caplog):
    run, stopped = tmp_path / "run", []

    def ask():
        wait_for(lambda: all(num_lines(run / name / "diagnostics.jsonl") > 1 for name in ("baseline", "r2")))
        stopped.append(cancel(run))

    thread = Thread(target=ask)
    thread.start()
    with pytest.raises(ThinwireError, match=r"the run in .* was cancelled.*resume=True"):
        run_sweep(in_processes(folder, training=LONG), run)
    thread.join()
    assert stopped == [3], "the sweep and its two processes"
    assert (status_of(run, "baseline"), status_of(run, "r2")) == ("cancelled", "cancelled")
    assert len(list(run.glob("*/unfinished-*.safetensors"))) == 2, "each at its own step"
    assert "a worker process has ended" not in caplog.text
    assert len(started) == 2


def test_a_worker_process_that_does_not_see_the_one_gpu_that_it_got_says_so(folder, tmp_path, monkeypatch):
    # Binding goes wrong where a name is of no GPU; here none is.
    monkeypatch.setattr(worker_process, "gpus_for_processes", lambda *_: ("0", "GPU-none"))
    message = r"a worker process sees 0 GPUs with CUDA_VISIBLE_DEVICES=GPU-none; it needs one"
    with pytest.raises(ThinwireError, match=message):
        run_sweep(in_processes(folder), tmp_path / "run")


def test_processes_that_get_no_job_end_with_the_command(folder, monkeypatch):
    monkeypatch.setattr(worker_process, "gpus_for_processes", lambda *_: ("0", "1", "2"))
    with processes_for_gpus(in_processes(folder), 3) as processes:
        assert len(processes) == 2, "the first GPU is the sweep's own"
        assert not any(process.has_ended for process in processes)
    assert [process.exit_code for process in processes] == [-signal.SIGKILL] * 2


@pytest.mark.parametrize(
    ("num_runs", "search", "more"), [(1, {}, 0), (2, {}, 1), (9, {}, 2), (1, {"lora.rank": [1, 2]}, 2)]
)
def test_no_more_gpus_are_taken_than_there_is_to_run(folder, monkeypatch, num_runs, search, more):
    monkeypatch.setattr(worker_process, "gpus_for_processes", lambda *_: ("0", "1", "2"))
    monkeypatch.setattr(worker_process, "WorkerProcess", lambda *_: SimpleNamespace(kill_idle=lambda: None))
    with processes_for_gpus(in_processes(folder, search=search), num_runs) as processes:
        assert len(processes) == more


def test_a_sweep_takes_over_processes_that_were_started_before_it(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(worker_process, "gpus_for_processes", lambda *_: ("", ""))  # they see no GPU, as this one
    made = in_processes(folder, arms=ARMS, worker_processes=1)
    with processes_for_gpus(made, 2) as processes:
        records = run_sweep(made, tmp_path / "run", processes=processes)
    assert [record.status for record in records] == ["done"] * len(ARMS)
    assert [process.exit_code for process in processes] == [0]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_arms_on_two_gpus_have_the_results_of_the_same_groups_on_one(folder, tmp_path):
    model = {"name": str(folder / "model"), "device": "cuda", "dtype": "float32", "compile": False}
    made = {"model": model, "arms": ARMS, "controls": CONTROLS, "group_size": 2}
    run_sweep(experiment(folder, **made, worker_processes=1), tmp_path / "one", controls="all")
    records = run_sweep(experiment(folder, **made), tmp_path / "two", controls="all")
    assert [record.status for record in records] == ["done"] * len(NAMES)
    for name in NAMES:
        one, other = tmp_path / "one" / name, tmp_path / "two" / name
        assert timeless(one / "diagnostics.jsonl") == timeless(other / "diagnostics.jsonl")
        assert (one / "predictions.jsonl").read_text() == (other / "predictions.jsonl").read_text()
