"""Workers of two hosts that share a folder and go away at any moment: the results are those of one sweep."""

import itertools
import json
import random
import signal
import time

import pytest

from fault_runs import KINDS, differences, spread
from thinwire.config.load import load_experiment
from thinwire.experiment.executors.peer import ask

pytestmark = pytest.mark.slow

WAYS = {"one by one": (4, 20), "in a group": (2, 20)}
"""Workers killed at random moments, in the short form and in the long one."""

SUSPENDED = (5, 60)
"""Changes of files at which a worker is suspended, likewise."""

EXPIRY = "3"
"""Seconds after which a worker on another host is taken to be gone."""


@pytest.fixture
def asked(undisturbed, tmp_path):
    """Return a function that leaves a request for workers in a new folder; it returns the folder, and what an
    undisturbed sweep left."""

    made = itertools.count()

    def make(way):
        file, expected, seconds, _ = undisturbed(way)
        run = tmp_path / f"run-{next(made)}"
        ask(load_experiment(file, []), run, resume=False, controls="auto", num_workers=2)
        return run, expected, seconds

    return make


def start(runs, run, host, **faults):
    """Start a worker on a host of that name, as far as claims can tell."""
    return runs.start("work", run, THINWIRE_HOST=host, THINWIRE_CLAIM_SECONDS=EXPIRY, **faults)


@pytest.mark.parametrize("way", WAYS)
def test_workers_of_two_hosts_that_are_killed_leave_what_an_undisturbed_sweep_leaves(way, runs, asked, long_form):
    run, expected, seconds = asked(way)
    drawn, number = random.Random(way), WAYS[way][long_form]  # noqa: S311
    working = {host: start(runs, run, host) for host in ("a", "b")}
    for _ in range(number):
        time.sleep(drawn.uniform(0, seconds / 2))
        host = drawn.choice(["a", "b"])
        working[host].send(signal.SIGKILL)
        working[host].wait()
        working[host] = start(runs, run, host)
    ended = [worker.wait(300) for worker in working.values()]
    assert [(worker.code, worker.is_clean) for worker in ended] == [(0, True)] * 2, [worker.said for worker in ended]
    assert differences(run, expected) == []


def test_a_worker_that_was_suspended_drops_what_another_one_has_taken(runs, asked):
    run, expected, _ = asked("in a group")
    first = start(runs, run, "a")
    while not list(run.glob("*/unfinished-*.safetensors")):
        assert not first.has_ended()
        time.sleep(0.01)
    first.send(signal.SIGSTOP)
    second = start(runs, run, "b").wait(300)
    assert second.code == 0, second.said
    first.send(signal.SIGCONT)
    ended = first.wait(300)
    assert (ended.code, ended.is_clean) == (0, True), ended.said
    assert "which this one had claimed; what was done here since is dropped" in ended.said
    assert differences(run, expected) == []


def test_a_worker_suspended_at_any_change_of_a_file_leaves_nothing_behind(runs, asked, long_form):
    whole, expected, _ = asked("in a group")
    counted = start(runs, whole, "a", FAULT_FOLDER=str(whole), FAULT_KINDS=KINDS).wait()
    calls = int(counted.last_line.removeprefix("calls: "))
    fell_short, places = {}, spread(calls, SUSPENDED[long_form])
    for place in places:
        run, *_ = asked("in a group")
        stop = {"FAULT_AT": str(place), "FAULT_ERRNO": "0", "FAULT_SIGNAL": str(int(signal.SIGSTOP))}
        first = start(runs, run, "a", FAULT_FOLDER=str(run), FAULT_KINDS=KINDS, **stop)
        while not first.is_stopped() and not first.has_ended():
            time.sleep(0.01)
        second = start(runs, run, "b").wait()
        first.send(signal.SIGCONT)
        ended = first.wait()
        codes = [(worker.code, worker.is_clean) for worker in (second, ended)]
        wrong = differences(run, expected)
        if wrong or codes != [(0, True)] * 2:
            fell_short[place] = wrong, second.said, ended.said
    assert fell_short == {}, f"{len(fell_short)} of {len(places)}"


def test_a_signal_stops_one_worker_and_the_other_goes_on_with_its_arms(runs, asked):
    run, expected, _ = asked("one by one")
    first, second = start(runs, run, "a"), start(runs, run, "b")
    while not list(run.glob("*/unfinished-*.safetensors")):
        assert not first.has_ended()
        time.sleep(0.01)
    first.send(signal.SIGTERM)
    assert first.wait().code == 128 + signal.SIGTERM
    assert second.wait(300).code == 0
    assert differences(run, expected) == []


def test_cancel_stops_all_workers_and_status_shows_what_they_do(runs, undisturbed, tmp_path):
    file, *_ = undisturbed("one by one")
    run, long = tmp_path / "run", load_experiment(file, ["training.epochs=5000"])
    ask(long, run, resume=False, controls="auto", num_workers=2)
    assert "0 of 5 done, 5 waiting" in runs.run("status", run).said
    workers = [start(runs, run, host) for host in ("a", "b")]
    while len(list(run.glob("*/unfinished-*.safetensors"))) < 2:
        assert not workers[0].has_ended()
        time.sleep(0.01)
    seen = json.loads(runs.run("status", run, "--json").last_line)
    running = [arm for arm in seen["arms"] if arm["state"] == "running"]
    assert {arm["host"] for arm in running} == {"a", "b"}
    assert {arm["process"] for arm in running} == {worker.pid for worker in workers}
    assert all(0 < arm["step"] < arm["steps"] == 15_000 and arm["heartbeat"] < 10 for arm in running)
    assert (len(seen["arms"]), len(running), seen["is_finished"]) == (5, 2, False)
    assert seen["seconds_left"] > 0
    joined = runs.run("sweep", file, "--set", "training.epochs=5000", "--output", run, "--resume")
    assert (joined.code, "another process is running a sweep" in joined.said) == (2, True)
    cancelled = runs.run("cancel", run)
    assert (cancelled.code, "2 workers have stopped" in cancelled.said) == (0, True), cancelled.said
    assert [worker.wait().code for worker in workers] == [128 + signal.SIGTERM] * 2
    said = runs.run("status", run).said
    assert "0 of 5 done, 2 stopped, 3 waiting" in said
    nothing = runs.run("cancel", run)
    assert (nothing.code, "no worker is at work" in nothing.said) == (2, True)
    late = start(runs, run, "c")
    ended = late.wait()
    assert (ended.code, "was cancelled" in ended.last_line) == (2, True)


def test_a_worker_joins_a_sweep_that_goes_on(runs, undisturbed, tmp_path):
    file, *_ = undisturbed("one by one")
    run, longer = tmp_path / "run", ("--set", "training.epochs=40")
    sweep = runs.start("sweep", file, *longer, "--output", run, THINWIRE_HOST="a", THINWIRE_CLAIM_SECONDS=EXPIRY)
    while not (run / ".workers" / "groups.json").exists():
        assert not sweep.has_ended()
        time.sleep(0.01)
    worker = start(runs, run, "b")
    for ended in (sweep.wait(), worker.wait()):
        assert (ended.code, ended.is_clean) == (0, True), ended.said
    assert "test F1" in worker.output.read_text(), "it has run an arm"
    assert {json.loads(path.read_text())["status"] for path in run.rglob("record.json")} == {"done"}


def test_arms_that_failed_are_run_again_by_new_workers(runs, undisturbed, tmp_path):
    file, *_ = undisturbed("one by one")
    run = tmp_path / "run"
    broken = load_experiment(file, ["arms.wild.training.adapter_lr=1e30"])
    ask(broken, run, resume=False, controls="none", num_workers=1)
    for _ in range(2):  # it fails again, so it has been run again
        ended = start(runs, run, "a").wait()
        assert (ended.code, "1 of 5 failed: wild" in ended.last_line) == (1, True), ended.said
        first = json.loads((run / "wild" / "record.json").read_text())
        ask(broken, run, resume=True, controls="none", num_workers=1)
        assert not (run / "wild" / "record.json").exists()
    assert first["status"] == "failed"
    assert len(list((run / "unfinished").glob("wild-*"))) == 1
