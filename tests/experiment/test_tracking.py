"""What a real sweep tells its trackers."""

import pytest

from thinwire import api
from thinwire.errors import UsageError
from thinwire.experiment import arm_journal
from thinwire.experiment.executors.peer import ask
from thinwire.experiment.request import read_request
from thinwire.experiment.sweep import join_sweep, run_sweep
from thinwire.tracking.table import TRACKERS
from tiny_sweeps import experiment, lines


class Double:
    def __init__(self):
        self.calls = []

    def __call__(self, sweep):
        return self

    def arm_started(self, arm):
        self.calls.append(("started", arm.name, len(arm.rows)))
        assert arm.config["lora"]

    def logged(self, row):
        self.calls.append(("logged", row.arm, row.step))

    def arm_ended(self, record):
        self.calls.append(("ended", record.name, record.status))

    def sweep_ended(self, analysis, reports):
        assert all(report.exists() for report in reports)
        self.calls.append(("over", analysis.verdict.best))

    def of(self, arm):
        return [(call, detail) for call, name, *rest in self.calls if name == arm for detail in rest]


@pytest.fixture
def double(monkeypatch):
    made = Double()
    monkeypatch.setitem(TRACKERS, "json", made)  # a package that is there
    return made


STEPS = [("logged", step) for step in (1, 2, 2, 3, 4, 4, 4)]
"""Two epochs of two steps and a selection, and the test."""


def test_a_sweep_tells_each_line_of_each_arm_and_its_end(folder, tmp_path, double):
    run = api.run(experiment(folder, controls={}), tmp_path / "run", track=("json",)).folder
    assert double.calls[-1][0] == "over"
    for name in ("baseline", "r2"):
        assert double.of(name) == [("started", 0), *STEPS, ("ended", "done")]
        assert len(lines(run / name / "diagnostics.jsonl")) == len(STEPS)
    before = list(double.calls)
    run_sweep(experiment(folder, controls={}), run, resume=True, track=("json",))
    assert double.calls == before, "nothing is told twice"


def test_a_resumed_arm_goes_on_after_the_lines_that_it_has(folder, tmp_path, double, monkeypatch):
    real, rows = arm_journal.append_jsonl, []

    def interrupt(path, row):
        real(path, row)
        rows.append(row)
        if len(rows) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(arm_journal, "append_jsonl", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(experiment(folder), tmp_path / "run", only=["r2"], track=["json"])
    run_sweep(experiment(folder), tmp_path / "run", only=["r2"], resume=True, track=["json"])
    # Interrupted at step 4, and resumed from the end of the first epoch, whose three lines are there.
    first = [("started", 0), *STEPS[:4], ("ended", "cancelled")]
    assert double.of("r2") == [*first, ("started", 3), *STEPS[3:], ("ended", "done")]


def test_a_tracker_that_fails_damages_no_sweep(folder, tmp_path, double, caplog):
    def fail(row):
        raise OSError("no route to host")

    double.logged = fail
    (record,) = run_sweep(experiment(folder), tmp_path / "run", only=["r2"], track=["json"])
    assert record.status == "done"
    assert caplog.text.count("--track json failed") == 1
    assert double.calls == [("started", "r2", 0)]


def test_an_unknown_tracker_is_refused_before_anything_is_written(folder, tmp_path):
    with pytest.raises(UsageError, match="--track takes"):
        run_sweep(experiment(folder), tmp_path / "run", track=["wandbb"])
    assert not (tmp_path / "run").exists()


def test_a_worker_of_another_host_reports_the_arms_that_it_runs(folder, tmp_path, double):
    run, made = tmp_path / "run", experiment(folder, controls={})
    ask(made, run, resume=False, controls="none", num_workers=2, track=["json"])
    join_sweep(read_request(run), run)
    assert double.of("r2") == [("started", 0), *STEPS, ("ended", "done")]
    assert [call for call, *_ in double.calls].count("over") == 1
    join_sweep(read_request(run), run)  # a second one, which comes too late
    assert [call for call, *_ in double.calls].count("over") == 1
