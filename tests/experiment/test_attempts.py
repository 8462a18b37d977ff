"""Workers that go away while they run arms: how often that is tried again, and what a new start forgets."""

import json
from dataclasses import asdict

import pytest

from thinwire.experiment.attempts import MOST_ATTEMPTS
from thinwire.experiment.executors import peer
from thinwire.experiment.group_queue import claim_name
from thinwire.experiment.request import SweepRequest, read_request
from thinwire.experiment.run_claims import RunClaims
from thinwire.experiment.sweep import begin_anew, join_sweep, run_sweep
from thinwire.results.layout import SEARCH_FOLDER
from tiny_sweeps import ARMS, experiment

TOGETHER = {name: ARMS[name] for name in ("baseline", "r2", "r4")}


def leave_claims(run, *names, number=MOST_ATTEMPTS):
    """Leave the claim on a group as ``number`` workers in succession do that are killed before a resume point."""
    claims = RunClaims(run)
    for attempt in range(1, number + 1):
        owner = claims.take(claim_name(names)).owner
        assert owner.attempt == attempt
        (claims.folder / claim_name(names)).write_text(json.dumps({**asdict(owner), "process": 2**22 + 1}))


def asked(folder, run, **changes):
    """Ask for workers of a sweep, as for a scheduler; returns what makes this process one of them."""
    made = experiment(folder, **{"arms": TOGETHER, "controls": {}, "group_size": 4, **changes})
    peer.ask(made, run, resume=False, controls="auto", num_workers=1)
    return lambda: join_sweep(read_request(run), run)


def statuses(records):
    return {record.name: record.status for record in records}


def test_a_sweep_that_is_started_again_after_three_kills_tries_its_arm_anew(folder, tmp_path):
    leave_claims(tmp_path, "baseline")
    made = experiment(folder, controls={})
    records = run_sweep(made, tmp_path, only=["baseline"], resume=True)
    assert statuses(records) == {"baseline": "done"}


def test_a_new_session_forgets_owners_that_are_gone_also_of_a_search_and_no_others(folder, tmp_path):
    made = experiment(folder, controls={}, arms={"baseline": {}}, search={"training.epochs": [1, 2]})
    for where in (tmp_path, tmp_path / SEARCH_FOLDER):
        leave_claims(where, "baseline")
    with RunClaims(tmp_path).take("worker-1"):
        begin_anew(SweepRequest(experiment=made), tmp_path)
        assert [one.name for one in RunClaims(tmp_path).seen()] == ["worker-1"]
        assert RunClaims(tmp_path / SEARCH_FOLDER).seen() == []


def test_an_arm_that_has_ended_three_workers_of_a_session_fails(folder, tmp_path):
    work = asked(folder, tmp_path, arms={"baseline": {}})
    leave_claims(tmp_path, "baseline")
    (record,) = work()
    assert record.status == "failed"
    assert "3 workers in succession have ended while they ran it alone" in record.error
    assert "--set arms.baseline.training.micro_batch_tokens=N" in record.error
    assert "group_size" not in record.error


def test_an_arm_that_has_ended_two_workers_is_tried_once_more(folder, tmp_path):
    work = asked(folder, tmp_path, arms={"baseline": {}})
    leave_claims(tmp_path, "baseline", number=2)
    assert statuses(work()) == {"baseline": "done"}


def test_a_group_that_has_ended_three_workers_is_run_one_by_one(folder, tmp_path, caplog):
    work = asked(folder, tmp_path)
    leave_claims(tmp_path, *TOGETHER)
    records = work()
    assert statuses(records) == dict.fromkeys(TOGETHER, "done")
    assert [record.done.training.trained_together for record in records] == [1, 1, 1]
    assert "3 workers in succession have ended while they ran 3 arms together" in caplog.text
    assert RunClaims(tmp_path).seen() == []


def test_of_a_group_only_the_arm_fails_that_has_ended_its_workers_alone(folder, tmp_path):
    work = asked(folder, tmp_path)
    leave_claims(tmp_path, *TOGETHER, number=2 * MOST_ATTEMPTS)
    leave_claims(tmp_path, "r2")
    assert statuses(work()) == {"baseline": "done", "r2": "failed", "r4": "done"}


@pytest.mark.parametrize("number", [1, 2])
def test_a_group_below_the_limit_trains_together(folder, tmp_path, number):
    work = asked(folder, tmp_path)
    leave_claims(tmp_path, *TOGETHER, number=number)
    assert [record.done.training.trained_together for record in work()] == [3, 3, 3]
