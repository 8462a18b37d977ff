"""Signals that a terminal, a scheduler or a pre-emption sends, at any moment and in any way of running."""

import json
import random
import signal
import time

import psutil
import pytest

from fault_runs import differences, resumed_until_done

pytestmark = pytest.mark.slow

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
MOMENTS = {"one by one": (0, 5), "in a group": (1, 5), "side by side": (0, 1), "on a GPU": (1, 2)}
"""Moments for each signal, in the short form and in the long one."""


def workers_of(run):
    """Return the worker processes of the sweep in the folder ``run``."""
    commands = ((process, process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [process for process, command in commands if str(run) in command and process.status() != "zombie"]


def shortcomings(ended, number, run):
    """Return what is wrong with how a sweep ended that got the signal ``number``; None if nothing is."""
    if not ended.is_clean:
        return f"a traceback: {ended.said}"
    if workers := workers_of(run):
        return f"{len(workers)} processes are left"
    if ended.code == 0:
        return None  # it had done everything
    if ended.code != 128 + number:
        return f"exit code {ended.code}: {ended.said}"
    words = f"interrupted by {number.name}; go on with: "
    if words not in ended.said or "--resume" not in ended.last_line:
        return f"no resume command: {ended.said}"
    statuses = {path.parent.name: json.loads(path.read_text())["status"] for path in run.glob("*/record.json")}
    running = {path.parent.name for path in run.glob("*/diagnostics.jsonl")}
    if running - set(statuses):
        return f"no record of {running - set(statuses)}"
    return None if set(statuses.values()) <= {"done", "cancelled"} else f"recorded as {statuses}"


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("way", MOMENTS)
def test_a_signal_at_any_moment_ends_a_sweep_which_goes_on_later(way, number, runs, undisturbed, long_form, tmp_path):
    moments = MOMENTS[way][long_form]
    if not moments:
        pytest.skip("only in the long form")
    file, expected, seconds, _ = undisturbed(way)
    drawn, fell_short = random.Random(f"{way} {number}"), {}  # noqa: S311
    for case in range(moments):
        run = tmp_path / str(case)
        started = runs.start("sweep", file, "--output", run)
        time.sleep(seconds * drawn.uniform(case, case + 1) / moments)
        started.send(number)
        wrong = shortcomings(started.wait(), number, run)
        wrong = wrong or resumed_until_done(runs, file, run) or differences(run, expected)
        if wrong:
            fell_short[case] = wrong
    assert fell_short == {}, f"{len(fell_short)} of {moments}"


@pytest.mark.parametrize("way", ["in a group", "side by side"])
def test_a_second_signal_ends_a_sweep_at_once_and_leaves_no_process(way, runs, undisturbed, long_form, tmp_path):
    if way == "side by side" and not long_form:
        pytest.skip("only in the long form: its processes take long to start")
    file, expected, seconds, _ = undisturbed(way)
    run = tmp_path / "run"
    started = runs.start("sweep", file, "--output", run)
    time.sleep(0.6 * seconds)
    while not started.has_ended():  # two that come at once count as one
        started.send(signal.SIGTERM)
        time.sleep(0.05)
    ended = started.wait()
    time.sleep(0.5)
    assert ended.is_clean
    assert ended.code == 128 + signal.SIGTERM
    assert "--resume" in ended.last_line
    assert workers_of(run) == []
    assert resumed_until_done(runs, file, run) is None
    assert differences(run, expected) == []


def test_the_processes_of_a_killed_sweep_end_with_it(runs, undisturbed, long_form, tmp_path):
    if not long_form:
        pytest.skip("only in the long form: its processes take long to start")
    file, _, seconds, _ = undisturbed("side by side")
    run = tmp_path / "run"
    started = runs.start("sweep", file, "--output", run)
    time.sleep(0.6 * seconds)
    started.send(signal.SIGKILL)
    started.wait()
    until = time.monotonic() + 20
    while workers_of(run) and time.monotonic() < until:
        time.sleep(0.1)
    assert workers_of(run) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_a_command_reads_ends_it_without_a_traceback(number, runs, undisturbed, inputs):
    undisturbed("in a group")
    started = runs.start("evaluate", inputs / "whole in a group" / "r2", "--data", inputs / "test.json")
    time.sleep(0.15)
    started.send(number)
    ended = started.wait()
    assert ended.is_clean
    assert ended.code in (0, 128 + number), ended.said
