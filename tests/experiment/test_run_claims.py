"""What a sweep leaves in the folder of claims, and requests to stop a program that handles signals itself."""

import json
import threading
from dataclasses import asdict

import pytest

from thinwire import interruption
from thinwire.claim_owners import this_process
from thinwire.claims import ClaimLostError
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment import run_claims
from thinwire.experiment.executors import peer
from thinwire.experiment.run_claims import SLURM_JOB_FILE, RunClaims, exclusive, stopping_on_request
from thinwire.experiment.sweep import run_sweep
from thinwire.files import write_text
from tiny_sweeps import experiment


def files(run):
    """Return the files of claims in the folder of a run, by their names."""
    return {path.name: path.read_bytes() for path in (run / ".workers").glob("*")}


@pytest.fixture
def interrupted_while_loading(monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("thinwire.experiment.sweep.load", stop)


def submitted(folder, run):
    """Leave in a folder what `--executor slurm` does; returns the experiment."""
    made = experiment(folder, worker_processes=1, controls={})
    peer.ask(made, run, resume=False, controls="auto", num_workers=4)
    write_text(run / ".workers" / SLURM_JOB_FILE, "4711\n")
    return made


def test_a_sweep_here_is_refused_where_a_slurm_array_is_pending_and_its_request_stays(folder, tmp_path):
    run = tmp_path / "run"
    made = submitted(folder, run)
    before = files(run)
    with pytest.raises(UsageError, match=r"Slurm job 4711 was submitted for .* --resume to run the sweep on this host"):
        run_sweep(made, run)
    assert files(run) == before


@pytest.mark.usefixtures("interrupted_while_loading")
def test_a_sweep_that_is_interrupted_while_it_loads_leaves_the_request_of_a_pending_array(folder, tmp_path):
    run = tmp_path / "run"
    made = submitted(folder, run)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(made, run, resume=True)
    assert set(files(run)) == {"request.json", SLURM_JOB_FILE}
    assert files(run)[SLURM_JOB_FILE] == b"4711\n"


@pytest.mark.usefixtures("interrupted_while_loading")
def test_a_sweep_that_is_interrupted_while_it_loads_leaves_nothing_of_its_own(folder, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(experiment(folder), tmp_path / "deep" / "run")
    assert list(tmp_path.iterdir()) == []


def test_what_a_job_has_put_there_meanwhile_stays(tmp_path):
    run = tmp_path / "run"
    with exclusive(run):
        write_text(run / ".workers" / "request.json", "{}")
        write_text(run / ".workers" / SLURM_JOB_FILE, "4711\n")
    assert set(files(run)) == {"request.json", SLURM_JOB_FILE}


@pytest.mark.parametrize("is_gone", [False, True])
def test_the_request_stays_for_a_worker_that_has_joined_until_it_is_gone(tmp_path, is_gone):
    run = tmp_path / "run"
    with exclusive(run):
        write_text(run / ".workers" / "request.json", "{}")
        # A renewed claim of another host, or of a process of this one that has ended.
        other = asdict(this_process(device=None, attempt=1, progress=0, steps=0))
        other |= {"process": 2**22 + 1} if is_gone else {"machine": "another"}
        (run / ".workers" / "worker-1").write_text(json.dumps(other))
    assert run.exists() != is_gone
    if not is_gone:
        assert set(files(run)) == {"request.json", "worker-1"}


def test_claims_of_a_dead_sweep_go_with_the_folder_of_the_next_but_not_its_request(tmp_path):
    folder = RunClaims(tmp_path).folder
    gone = json.dumps({**asdict(this_process(device=None, attempt=1, progress=0, steps=0)), "process": 2**22 + 1})
    folder.mkdir()
    (folder / "sweep").write_text(gone)
    with exclusive(tmp_path):
        assert set(files(tmp_path)) == {"sweep"}
    assert not folder.exists()
    folder.mkdir()
    (folder / "sweep").write_text(gone)
    (folder / "request.json").write_text("{}")
    with exclusive(tmp_path):
        pass
    assert set(files(tmp_path)) == {"request.json"}


def test_what_one_worker_does_alone_is_done_again_if_another_has_taken_its_claim_meanwhile(tmp_path, caplog):
    claims, done = RunClaims(tmp_path), []

    def act():
        done.append(claims.is_held("finish"))
        if len(done) == 1:
            (claims.folder / "finish").unlink()
            raise ClaimLostError("another process has taken finish")

    claims.alone("finish", "another worker", act)
    assert done == [True, True]
    assert "has taken finish, which this one had claimed; doing it again" in caplog.text
    assert not claims.is_held("finish")


def test_a_program_that_handles_signals_itself_stops_at_its_next_check_and_is_told_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(run_claims, "_WATCH_SECONDS", 0.01)
    claims = RunClaims(tmp_path)
    claims.ask_to_stop()

    def run():
        with stopping_on_request(claims):
            threading.Event().wait(0.5)
            interruption.check()

    with pytest.raises(ThinwireError, match=r"the run in .* was cancelled.*resume=True"):
        run()
    interruption.check()  # what this thread does next is not asked to stop
    claims.take_back_stop()
    with stopping_on_request(claims):
        threading.Event().wait(0.1)
        interruption.check()


def test_a_request_that_comes_too_late_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(run_claims, "_WATCH_SECONDS", 0.01)
    claims = RunClaims(tmp_path)
    claims.ask_to_stop()
    with stopping_on_request(claims):
        threading.Event().wait(0.2)
    interruption.check()
