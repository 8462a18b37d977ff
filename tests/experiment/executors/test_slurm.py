"""Sweeps on a real Slurm cluster of one node: arrays, requeued elements, time limits, an absent controller."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from slurm_cluster import SlurmCluster, missing
from thinwire.errors import UsageError
from thinwire.experiment.executors import slurm, slurm_queue
from thinwire.experiment.status import read_status
from thinwire.results.arm_record import read_arm_record
from tiny_sweeps import ARMS, experiment, timeless

SOURCE = Path(slurm.__file__).parents[3]
needs_slurm = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture
def cluster():
    with SlurmCluster() as started:
        yield started


@pytest.fixture
def at_slurm(cluster, monkeypatch):
    """Set the environment of a login node of the cluster."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
        monkeypatch.delenv(name)
    for name, value in cluster.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("THINWIRE_CLAIM_SECONDS", "6")
    return cluster


def thinwire(*arguments):
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "thinwire", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def written(folder, tmp_path, **changes):
    """Write an experiment of the tiny model; returns its file."""
    model = {"name": str(folder / "model"), "device": "cpu", "dtype": "float32", "compile": False}
    made = experiment(folder, **{"model": model, "controls": {}, "arms": ARMS, **changes})
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(made.model_dump(mode="json")))
    return file


def submitted(file, run, *options, workers=2):
    """Submit a sweep; returns the number of its job."""
    told = thinwire(
        *("sweep", file, "--output", run, "--executor", "slurm", "--workers", workers),
        *("--slurm", "time=10", "--slurm", "mem=900", *options),
    )
    assert told.returncode == 0, told.stderr
    assert f"thinwire status {run}" in " ".join(told.stderr.split())
    return (run / ".workers" / "slurm_job.txt").read_text().strip()


def is_finished(run):
    try:
        return read_status(run).is_finished
    except UsageError:
        return False


def assert_done(run, names):
    assert {name: read_arm_record(run / name).status for name in names} == dict.fromkeys(names, "done")


def logs(run):
    return "".join(path.read_text() for path in (run / ".workers" / "logs").glob("*log.out"))


def test_the_script_is_shown_and_nothing_is_submitted(folder, tmp_path):
    file = written(folder, tmp_path, model={"name": str(folder / "model"), "device": "auto", "dtype": "float32"})
    options = ["partition=gpu", "account=lab", "time=1-02:00:00", "constraint=h100", "reservation=mine"]
    told = thinwire(
        *("sweep", file, "--output", tmp_path / "run", "--executor", "slurm", "--workers", 4, "--dry-run"),
        *[word for option in options for word in ("--slurm", option)],
    )
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    for line in ("array=0-3%4", "gpus-per-node=1", "time=1560", "signal=USR2@120", *options[:2], *options[3:]):
        assert f"#SBATCH --{line}" in lines
    assert "#SBATCH --requeue" in lines
    assert not (tmp_path / "run").exists()


def test_a_cluster_that_is_not_here_is_said(folder, tmp_path, monkeypatch):
    file = written(folder, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    told = thinwire("sweep", file, "--output", tmp_path / "run", "--executor", "slurm", "--workers", 2)
    assert told.returncode == 2
    assert "error: --executor slurm needs sbatch, which is not on the PATH" in told.stderr
    assert not (tmp_path / "run").exists()


def test_submitit_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(slurm, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs submitit; pip install 'thinwire\[slurm\]'"):
        slurm.check_options({})


def test_options_given_twice_are_refused_however_they_are_written(folder, tmp_path):
    options = ["--slurm", "cpus-per-task=2", "--slurm", "cpus_per_task=8"]
    told = thinwire("sweep", written(folder, tmp_path), "--executor", "slurm", "--workers", 2, *options, "--dry-run")
    assert told.returncode == 2
    assert "--slurm gives cpus_per_task twice, '2' and '8'; take one out" in told.stderr


def test_a_job_that_sbatch_refuses_leaves_no_folder(folder, tmp_path, monkeypatch):
    for name, does in {"sbatch": "echo invalid partition >&2; exit 1", "srun": "exit 0"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    run = tmp_path / "run"
    told = thinwire("sweep", written(folder, tmp_path), "--output", run, "--executor", "slurm", "--workers", 2)
    assert told.returncode == 2
    assert "sbatch refuses the job" in told.stderr
    assert not run.exists()


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 2), ("04:00:00", 240), ("2-12", 3600), ("2-12:30", 3630), ("1-00:00:01", 1441)],
)
def test_time_limits_are_read_as_slurm_reads_them(text, minutes):
    assert slurm.minutes(text) == minutes


def test_a_time_limit_that_is_none_is_refused():
    with pytest.raises(UsageError, match="time=soon is no time limit"):
        slurm.minutes("soon")


@needs_slurm
@pytest.mark.slow
def test_a_job_is_in_the_queue_until_it_has_ended(at_slurm):
    job = at_slurm.submit("--array=0-1", "--mem=50", "--wrap=sleep 300")
    assert slurm_queue.is_in_queue(job)
    at_slurm.run("scancel", job)
    at_slurm.wait_until(lambda: not slurm_queue.is_in_queue(job), seconds=60)
    assert not slurm_queue.is_in_queue("4000000"), "there never was one"


@needs_slurm
@pytest.mark.slow
def test_an_array_runs_a_sweep_and_elements_that_are_stopped_go_on_when_they_are_requeued(
    folder, tmp_path, at_slurm, set_threads
):
    arms = {**ARMS, "long": {"training": {"epochs": 60, "batch_size": 4}}}
    file, run = written(folder, tmp_path, arms=arms), tmp_path / "run"
    job = submitted(file, run)
    at_slurm.wait_until(lambda: (run / "long" / "diagnostics.jsonl").exists(), seconds=120)
    states = {arm.name: arm for arm in read_status(run).arms}
    ours = states["long"]
    assert (ours.state, ours.host, ours.job.startswith("slurm-")) == ("running", os.uname().nodename, True)
    # The element that runs it is told to stop, as before its time limit, and requeues itself.
    elements = {f"slurm-{at_slurm.job(f'{job}_{n}')['JobId']}": f"{job}_{n}" for n in (0, 1)}
    element = elements[ours.job]
    at_slurm.run("scancel", "--signal=USR2", element)
    at_slurm.wait_until(lambda: at_slurm.job(element)["Restarts"] == "1", seconds=60)
    at_slurm.restart_controller(signal.SIGKILL)
    # The other one is taken away at once, as by a pre-emption.
    other = next(one for one in elements.values() if one != element)
    if at_slurm.states().get(other) == "RUNNING":
        at_slurm.run("scontrol", "requeue", other)
    at_slurm.wait_until(lambda: is_finished(run), seconds=240)
    assert_done(run, arms)
    set_threads(1)
    alone = thinwire("train", file, "long", "--output", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    one, same = run / "long", tmp_path / "alone" / "long"
    assert timeless(one / "diagnostics.jsonl") == timeless(same / "diagnostics.jsonl")
    assert (one / "predictions.jsonl").read_text() == (same / "predictions.jsonl").read_text()
    assert (run / "report.html").exists()
    assert "Traceback" not in logs(run)
    # Not by the states: a controller that was killed may have missed the end of a job, and believes for minutes that it
    # runs.
    at_slurm.wait_until(lambda: not at_slurm.processes_of("thinwire"), seconds=120)


@needs_slurm
@pytest.mark.slow
def test_a_cancelled_run_leaves_no_job_and_goes_on_with_a_new_one(folder, tmp_path, at_slurm):
    long = {"training": {"epochs": 4000, "batch_size": 4}}
    file, run = written(folder, tmp_path, arms={"baseline": long, "r2": {**ARMS["r2"], **long}}), tmp_path / "run"
    submitted(file, run)
    at_slurm.wait_until(lambda: (run / "r2" / "diagnostics.jsonl").exists(), seconds=120)
    told = thinwire("cancel", run)
    assert told.returncode == 0, told.stderr
    at_slurm.wait_until(lambda: not at_slurm.states(), seconds=60)
    assert {arm.state for arm in read_status(run).arms} == {"stopped"}
    assert submitted(file, run, "--resume", workers=1)
    at_slurm.wait_until(lambda: any(arm.state == "running" for arm in read_status(run).arms), seconds=120)
    assert json.loads(thinwire("status", run, "--json").stdout)["arms"][0]["step"] > 0
    assert thinwire("cancel", run).returncode == 0
    at_slurm.wait_until(lambda: not at_slurm.states(), seconds=60)
