"""Workers that join a run which others have begun."""

import shutil
from dataclasses import replace

import pytest

from thinwire.claims import ClaimLostError
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment import question_cache, sweep_run
from thinwire.experiment.executors import peer
from thinwire.experiment.group_queue import read_queue, write_queue
from thinwire.experiment.request import read_request
from thinwire.experiment.run_claims import RunClaims
from thinwire.experiment.sweep import begin_anew, join_sweep
from thinwire.experiment.sweep_run import SweepRun
from thinwire.model.loading import load
from thinwire.progress import Display
from thinwire.results.sweep_header import read_header, write_header
from tiny_sweeps import experiment


def test_a_worker_on_a_cpu_does_not_join_workers_that_use_gpus(folder, tmp_path):
    peer.ask(
        experiment(folder, arms={"baseline": {}}, controls={}), tmp_path, resume=False, controls="auto", num_workers=2
    )
    (record,) = join_sweep(read_request(tmp_path), tmp_path)
    header = read_header(tmp_path)
    on_gpu = header.environment.model_copy(update={"device": "NVIDIA H200"})
    write_header(tmp_path, header.model_copy(update={"environment": on_gpu, "finished_at": None}))
    with pytest.raises(UsageError, match="was begun on NVIDIA H200, and this worker would use cpu: start it on a host"):
        join_sweep(read_request(tmp_path), tmp_path)
    queue = read_queue(tmp_path)
    write_queue(tmp_path, queue.model_copy(update={"choices": "of a search that has just ended"}))
    with pytest.raises(UsageError, match="was begun on NVIDIA H200"):
        join_sweep(read_request(tmp_path), tmp_path)
    assert read_header(tmp_path).environment == on_gpu, "else the workers that use GPUs would be refused"
    write_queue(tmp_path, queue)
    write_header(tmp_path, header)
    assert [one.finished_at for one in join_sweep(read_request(tmp_path), tmp_path)] == [record.finished_at]


def test_a_worker_that_was_away_while_the_run_was_begun_anew_has_no_part_in_it(folder, tmp_path, monkeypatch):
    arms = {"baseline": {}, "r2": {"lora": {"rank": 2, "alpha": 4}}}
    made = experiment(folder, arms=arms, controls={}, group_size=1)
    peer.ask(made, tmp_path, resume=False, controls="auto", num_workers=2)
    real, away = sweep_run.run_group, []

    def suspended(*arguments):
        if not away:
            away.append(True)
            claims = RunClaims(tmp_path)
            for one in claims.seen():
                (claims.folder / one.name).unlink()
            begin_anew(read_request(tmp_path), tmp_path)
            raise ClaimLostError("another process has taken it")
        return real(*arguments)

    monkeypatch.setattr(sweep_run, "run_group", suspended)
    with pytest.raises(ThinwireError, match="was begun anew while this worker was away"):
        join_sweep(read_request(tmp_path), tmp_path)
    assert not list(tmp_path.glob("*/record.json"))
    records = join_sweep(read_request(tmp_path), tmp_path)
    assert [record.status for record in records] == ["done", "done"]


def encodings(monkeypatch):
    """The settings of prompts as which questions are encoded from now on, in their order."""
    found, encode = [], question_cache.encode_questions
    monkeypatch.setattr(
        question_cache, "encode_questions", lambda drawn, how: found.append(how.config) or encode(drawn, how)
    )
    return found


def test_a_helper_that_waits_for_the_groups_prepares_questions_meanwhile(folder, tmp_path, monkeypatch):
    made = experiment(folder, arms={"baseline": {}, "r2": {"lora": {"rank": 2, "alpha": 4}}}, controls={})
    peer.ask(made, tmp_path, resume=False, controls="auto", num_workers=2)
    request, lm = read_request(tmp_path), load(made.model)
    SweepRun(request, lm, tmp_path, Display()).begin(request.planned)
    encoded, queue = encodings(monkeypatch), read_queue(tmp_path)
    for waits, times in ((0, 0), (3, 1)):  # both arms have the same prompts
        found = iter([*[None] * waits, queue])
        monkeypatch.setattr(sweep_run, "read_queue", lambda _, found=found: next(found))
        SweepRun(replace(request, session="a"), lm, tmp_path, Display()).begin(request.planned)
        assert len(encoded) == times


def test_a_worker_prepares_the_questions_of_the_arms_that_it_runs_and_no_others(folder, tmp_path, monkeypatch):
    half = {"input": "text", "prompt": {"context_share": 0.5}, "lora": {"rank": 2, "alpha": 4}}
    made = experiment(folder, arms={"baseline": {}, "half": half}, controls={}, group_size=1)
    peer.ask(made, tmp_path, resume=False, controls="auto", num_workers=2)
    encoded = encodings(monkeypatch)
    join_sweep(read_request(tmp_path), tmp_path)
    assert sorted(config.context_share for config in encoded) == [0.5, 1.0], "who prepares the run checks all prompts"
    encoded.clear()
    shutil.rmtree(tmp_path / "half")
    write_header(tmp_path, read_header(tmp_path).model_copy(update={"finished_at": None}))
    with monkeypatch.context() as failing:
        failing.setattr(question_cache, "decide_answer_form", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            join_sweep(read_request(tmp_path), tmp_path)
    assert not (tmp_path / "half").exists(), "what fails while questions are encoded leaves no arm that has begun"
    encoded.clear()
    records = join_sweep(read_request(tmp_path), tmp_path)
    assert [config.context_share for config in encoded] == [0.5]
    assert [record.status for record in records] == ["done", "done"]
