"""What trackers are told, in which order, and what becomes of one that fails."""

import logging
import subprocess
import sys
import threading

import pytest

from small_analysis import example, without
from sweep_folder import failed, folder_of, record, write_arm
from thinwire.errors import UsageError
from thinwire.tracking import table, trackers
from thinwire.tracking.table import check_trackers
from tracked_runs import begin, diagnostics
from tracked_runs import trackers as opened


class Double:
    """Keeps what it is told, and raises at a call of that name."""

    def __init__(self, fails_at=None):
        self.calls, self.fails_at = [], fails_at

    def __call__(self, sweep):
        self._say("opened", sweep.name)
        return self

    def _say(self, name, *values):
        self.calls.append((name, *values))
        if name == self.fails_at:
            raise ConnectionError("the network\nis down")

    def arm_started(self, arm):
        self._say("started", arm.name, len(arm.rows))

    def logged(self, row):
        self._say("logged", row.arm, row.step, row.scalars)

    def arm_ended(self, record):
        self._say("ended", record.name, record.status)

    def sweep_ended(self, analysis, reports):
        self._say("over", [path.name for path in reports])


def tell_all(told, tmp_path):
    """Tell of an arm with two lines, of one that fails, and of the end."""
    one, other = record("baseline"), failed("broken")
    begin(told, tmp_path, one)
    for row in diagnostics(tmp_path, one)[-2:]:
        told.logged(one.name, row)
    told.arm_ended(one)
    begin(told, tmp_path, other)
    told.arm_ended(other)
    told.sweep_ended(example(), [tmp_path / "report.html"])


EVERYTHING = [
    ("opened", "phase1a_lora_sweep"),
    ("started", "baseline", 0),
    ("logged", "baseline", 0, {"selection/text_f1": 0.375, "selection/text_em": 0.125}),
    ("logged", "baseline", 0, {"test/test_f1": 0.375, "test/test_em": 0.25}),
    ("ended", "baseline", "done"),
    ("started", "broken", 0),
    ("ended", "broken", "failed"),
    ("over", ["report.html"]),
]


def test_calls_arrive_in_the_order_in_which_things_happen(tmp_path):
    double = Double()
    with opened(tmp_path, "double", table={"double": double}) as told:
        tell_all(told, tmp_path)
    assert double.calls == EVERYTHING


@pytest.mark.parametrize("fails_at", ["opened", "started", "logged", "ended", "over"])
def test_a_tracker_that_raises_is_called_no_more_and_said_once(fails_at, tmp_path, caplog):
    good, bad = Double(), Double(fails_at)
    with caplog.at_level(logging.WARNING), opened(tmp_path, "bad", "good", table={"bad": bad, "good": good}) as told:
        tell_all(told, tmp_path)
    assert good.calls == EVERYTHING
    number = [call[0] for call in EVERYTHING].index(fails_at) + 1
    assert bad.calls == EVERYTHING[:number]
    (warning,) = caplog.messages
    assert "--track bad failed and is left out" in warning
    assert "(ConnectionError: the network is down)" in warning


def test_a_tracker_that_hangs_does_not_hold_up_the_sweep(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(trackers, "_PATIENCE", 0.05)
    double, released = Double(), threading.Event()
    double.arm_started = lambda arm: released.wait(60)
    with caplog.at_level(logging.WARNING), opened(tmp_path, "double", table={"double": double}) as told:
        tell_all(told, tmp_path)
    assert double.calls == EVERYTHING[:1]
    assert "has not taken all of the sweep within 0 s" in caplog.text
    released.set()


def test_a_finished_arm_is_told_to_a_tracker_that_does_not_have_it(tmp_path):
    one = record("baseline")
    write_arm(folder_of(tmp_path, one), one)
    first, second = Double(), Double()
    with opened(tmp_path, "first", table={"first": first}) as told:
        told.arm_was_done(one, folder_of(tmp_path, one))
    with opened(tmp_path, "first", "second", table={"first": first, "second": second}) as told:
        told.arm_was_done(one, folder_of(tmp_path, one))
    expected = [EVERYTHING[0], ("started", "baseline", 5), ("ended", "baseline", "done")]  # three steps, two scores
    assert first.calls == [*expected, EVERYTHING[0]]
    assert second.calls == expected


def test_the_end_of_a_sweep_is_told_once_by_all_its_workers_and_again_with_other_results(tmp_path):
    double = Double()
    for analysis in (example(), example(), without(example(), "codec_only")):
        with opened(tmp_path, "double", table={"double": double}) as told:
            told.sweep_ended(analysis, [])
    assert [name for name, *_ in double.calls].count("over") == 2


def test_damaged_diagnostics_stop_no_arm(tmp_path, caplog):
    double, one = Double(), record("baseline")
    folder_of(tmp_path, one).mkdir()
    (folder_of(tmp_path, one) / "diagnostics.jsonl").write_text('{"step": 1')
    with opened(tmp_path, "double", table={"double": double}) as told:
        begin(told, tmp_path, one)
    assert double.calls[-1] == ("started", "baseline", 0)
    assert "trackers do not get what baseline logged before" in caplog.text


def test_unknown_trackers_and_missing_packages_are_refused_with_the_remedy(monkeypatch):
    with pytest.raises(UsageError, match=r"takes tensorboard, wandb, mlflow; got 'wandbb' \(did you mean 'wandb'\?\)"):
        check_trackers(["wandbb"])
    with pytest.raises(UsageError, match="takes a list of names"):
        check_trackers("wandb")
    monkeypatch.setattr(table.importlib.util, "find_spec", lambda name: None if name == "mlflow" else object())
    assert check_trackers(["wandb", "tensorboard", "wandb"]) == ("wandb", "tensorboard")
    with pytest.raises(UsageError, match=r"needs the package mlflow: pip install 'thinwire\[mlflow\]'"):
        check_trackers(["mlflow"])


def test_no_tracker_is_imported_unless_it_is_asked_for():
    code = (
        "import sys, thinwire.tracking.trackers; "
        "print([name for name in ('tensorboard', 'wandb', 'mlflow', 'torch') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"
