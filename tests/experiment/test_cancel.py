"""`thinwire cancel` on a sweep that a Python program runs, which keeps its own handling of signals."""

from threading import Thread

import pytest

from thinwire.api import run
from thinwire.errors import ThinwireError
from thinwire.experiment import artifact_cache, run_claims
from thinwire.experiment.executors.cancel import cancel
from thinwire.experiment.run_claims import RunClaims
from thinwire.results.arm_record import read_arm_record
from tiny_sweeps import experiment, have_started, lines, wait_for


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr(run_claims, "_WATCH_SECONDS", 0.05)


def cancelled(made, where, when):
    """Run a sweep and cancel it once ``when()`` is true; returns how many workers `cancel` has stopped."""
    stopped = []

    def ask():
        wait_for(when)
        stopped.append(cancel(where))

    thread = Thread(target=ask)
    thread.start()
    with pytest.raises(ThinwireError, match=r"the run in .* was cancelled.*resume=True"):
        run(made, where)
    thread.join()
    return stopped


def test_a_cancelled_run_ends_its_step_keeps_its_resume_point_and_goes_on(folder, tmp_path):
    where = tmp_path / "run"
    training = {"epochs": 150, "batch_size": 4}
    made = experiment(folder, arms={"baseline": {}}, controls={}, training=training, worker_processes=1)
    assert cancelled(made, where, lambda: have_started(where, "baseline")) == [1]
    assert read_arm_record(where / "baseline").status == "cancelled"
    (point,) = (where / "baseline").glob("unfinished-*.safetensors")
    steps = [row["step"] for row in lines(where / "baseline" / "diagnostics.jsonl") if row["event"] == "step"]
    assert point.stem.split("-")[2] == str(steps[-1]), "the resume point is that of the last step"
    assert steps[-1] < 450
    (record,) = run(made, where, resume=True).records().values()
    assert record.status == "done"
    assert record.resumed[0].step == steps[-1]


def test_a_run_is_cancelled_while_it_trains_the_starting_adapter(folder, tmp_path, cache, monkeypatch):
    where, train = tmp_path / "run", artifact_cache.train_reconstruction
    done = []

    def slow(*arguments):
        *others, on_step = arguments

        def on_slow_step(step, total, cosine):
            if not done:
                RunClaims(where).ask_to_stop()
            done.append(step)
            wait_for(lambda: run_claims.interruption.received() is not None, seconds=20)
            on_step(step, total, cosine)

        train(*others, on_slow_step)

    monkeypatch.setattr(artifact_cache, "train_reconstruction", slow)
    with pytest.raises(ThinwireError, match="was cancelled"):
        run(experiment(folder, arms={"baseline": {}}, controls={}, worker_processes=1), where)
    assert len(done) == 1
