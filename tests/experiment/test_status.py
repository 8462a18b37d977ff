"""What status says of runs: finished, handed to a scheduler, cancelled, killed; steps and the time left."""

import io
import json
import os
import time
from dataclasses import asdict, replace

import pytest
from rich.console import Console

from thinwire import claims
from thinwire.experiment import group_run
from thinwire.experiment.executors import peer
from thinwire.experiment.group_queue import GroupQueue, claim_name, read_queue, write_queue
from thinwire.experiment.run_claims import SLURM_JOB_FILE, RunClaims
from thinwire.experiment.status import read_status, render_status
from thinwire.experiment.sweep import run_sweep
from thinwire.results.sweep_header import read_header, write_header
from tiny_sweeps import experiment

ALONE = {"controls": {}, "worker_processes": 1, "group_size": 1}


def states(run):
    return {arm.name: arm.state for arm in read_status(run).arms}


def text(run):
    screen = io.StringIO()
    Console(width=120, file=screen).print(render_status(read_status(run), "F1"))
    return screen.getvalue()


def ask(made, run, *, resume=False):
    peer.ask(made, run, resume=resume, controls="auto", num_workers=2)


def is_old(run):
    """Let the request have been written an hour ago."""
    long_ago = time.time() - 3600
    os.utime(run / ".workers" / "request.json", (long_ago, long_ago))


def queued(monkeypatch, tmp_path, said):
    """Let Slurm answer ``said`` when it is asked for jobs; an exit code of 1 comes with an error."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    is_error = said.startswith("slurm_load_jobs")
    (programs / "squeue").write_text(f"#!/bin/sh\necho '{said}' >&{2 if is_error else 1}\nexit {int(is_error)}\n")
    (programs / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")


def left_claim(run, names, **changes):
    """Leave the claim of another host's process on a group, renewed now."""
    held = RunClaims(run)
    held.folder.mkdir(exist_ok=True, parents=True)
    path = held.folder / claim_name(names)
    with claims.take(path) as claim:
        owner = replace(claim.owner, machine="another", host="other", **changes)
    path.write_text(json.dumps(asdict(owner)))
    return path


def goes(path):
    """Let an owner on another host be gone."""
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))


@pytest.fixture
def half_failed(folder, tmp_path, monkeypatch):
    """A sweep that has ended, in which r2 failed; returns its experiment and its folder."""
    made, run, real = experiment(folder, **ALONE), tmp_path / "run", group_run._run

    def without_r2(runtime, artifacts, journals, *rest):
        if journals[0].name == "r2":
            raise RuntimeError("out of memory")
        return real(runtime, artifacts, journals, *rest)

    monkeypatch.setattr(group_run, "_run", without_r2)
    run_sweep(made, run)
    monkeypatch.setattr(group_run, "_run", real)
    return made, run


def test_a_sweep_is_finished_until_a_scheduler_is_to_go_on_with_it(half_failed):
    made, run = half_failed
    ended = read_status(run)
    assert (ended.is_finished, ended.outcome, ended.count("failed")) == (True, "finished", 1)
    ask(made, run, resume=True)
    asked = read_status(run)
    assert (asked.is_finished, asked.outcome, states(run)) == (False, None, {"baseline": "done", "r2": "stopped"})
    assert "No worker" not in text(run)


def test_arms_that_are_added_are_waiting_before_a_worker_has_begun(half_failed):
    made, run = half_failed
    ask(made.model_copy(update={"arms": {"baseline": {}, "r1": {"lora": {"rank": 1}}}}), run, resume=True)
    assert states(run) == {"baseline": "done", "r1": "waiting"}
    assert not read_status(run).is_finished


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("PENDING", None),
        ("", "abandoned"),
        ("slurm_load_jobs error: Invalid job id specified", "abandoned"),
        ("slurm_load_jobs error: Unable to contact slurm controller", None),
    ],
)
def test_a_run_goes_on_while_slurm_has_its_job(folder, tmp_path, monkeypatch, said, outcome):
    run = tmp_path / "run"
    ask(experiment(folder), run)
    is_old(run)
    (RunClaims(run).folder / SLURM_JOB_FILE).write_text("7\n")
    queued(monkeypatch, tmp_path, said)
    assert read_status(run).outcome == outcome


def test_a_job_is_expected_where_slurm_cannot_be_asked(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    ask(experiment(folder), run)
    is_old(run)
    (RunClaims(run).folder / SLURM_JOB_FILE).write_text("7\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_status(run).outcome is None


def test_nobody_is_expected_for_ever(folder, tmp_path):
    run = tmp_path / "run"
    ask(experiment(folder), run)
    assert read_status(run).outcome is None
    is_old(run)
    assert read_status(run).outcome == "abandoned"
    assert "No worker is at work, and none is expected; `thinwire sweep ... --resume` goes on." in text(run)
    with RunClaims(run).take("worker-1"):
        assert read_status(run).outcome is None


def test_a_cancelled_run_is_over_once_its_workers_have_stopped(folder, tmp_path):
    run = tmp_path / "run"
    ask(experiment(folder), run)
    RunClaims(run).ask_to_stop()
    with RunClaims(run).take("worker-1"):
        assert read_status(run).outcome is None
    assert read_status(run).outcome == "cancelled"
    assert "It was cancelled, and no worker is at work" in text(run)


@pytest.fixture
def begun(half_failed):
    """The folder of a sweep that goes on with r2, at 2 of its 4 steps, from step 1."""
    made, run = half_failed
    ask(made, run, resume=True)
    write_queue(run, GroupQueue(choices="c", group_size=1, groups=(("baseline",), ("r2",))))
    write_header(run, read_header(run).model_copy(update={"finished_at": None}))
    (run / "r2" / "diagnostics.jsonl").write_text('{"event": "step"}\n' * 2)
    return run


def test_an_arm_whose_worker_is_gone_is_lost_only_while_another_one_is_at_work(begun):
    path = left_claim(begun, ["r2"])
    assert states(begun)["r2"] == "running"
    goes(path)
    with RunClaims(begun).take("worker-1"):
        assert states(begun)["r2"] == "lost"
    assert (states(begun)["r2"], read_status(begun).outcome) == ("stopped", "abandoned")


def test_a_worker_of_the_search_goes_on_too(begun):
    goes(left_claim(begun, ["r2"]))
    with RunClaims(begun / "search").take("group-1"):
        assert states(begun)["r2"] == "lost"


def test_the_time_left_is_estimated_from_the_steps_since_the_claim(begun):
    # One step in 10 s, two steps are left. What makes a resume point grow is no number of steps.
    left_claim(begun, ["r2"], since=time.time() - 10, steps=1, progress=1000)
    assert read_status(begun).seconds_left == pytest.approx(20, rel=0.1)


def test_a_resumed_arm_counts_from_the_steps_of_its_resume_point(folder, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    made, run = experiment(folder, **ALONE, arms={"baseline": {}}), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("thinwire.experiment.arm_run.ArmRun.test", stop)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(made, run)
    owners, real = [], group_run.run_group
    monkeypatch.setattr(
        "thinwire.experiment.sweep_run.run_group", lambda *given: (owners.append(given[-1].owner), real(*given))
    )
    run_sweep(made, run, resume=True)
    # It had done 2 epochs of 2 steps.
    assert [(owner.steps, owner.progress) for owner in owners] == [(4, 6)]


def test_steps_are_those_of_the_settings_that_a_search_has_chosen(folder, tmp_path):
    run = tmp_path / "run"
    run_sweep(experiment(folder, **ALONE, arms={"baseline": {}}, search={"training.epochs": [1, 3]}), run)
    chosen = json.loads((run / "search.json").read_text())["arms"]["baseline"]["chosen"]["training.epochs"]
    (arm,) = read_status(run).arms
    # The experiment's own number of epochs, 2, is none of those.
    assert (arm.step, arm.steps) == (2 * chosen, 2 * chosen)
    assert read_queue(run) is not None
