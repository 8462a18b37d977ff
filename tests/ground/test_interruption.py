import signal
import threading
from contextlib import suppress

import pytest

from thinwire import interruption
from thinwire.cli.main import resume_command
from thinwire.interruption import Interrupted


def test_each_signal_raises_with_its_own_exit_code(hears_signals):
    for number in interruption.SIGNALS:
        with pytest.raises(Interrupted, match=f"interrupted by {number.name}") as caught:
            signal.raise_signal(number)
        assert caught.value.exit_code == 128 + number
        assert interruption.received() == number
        hears_signals()
    assert len(interruption.SIGNALS) == 5


def test_a_deferred_signal_raises_at_the_end_of_the_outermost_block_or_where_it_is_looked_for(hears_signals):
    done = []

    def work():
        with interruption.deferred():
            with interruption.deferred():
                signal.raise_signal(signal.SIGTERM)
                done.append("inner")
            done.append("outer")

    with pytest.raises(Interrupted):
        work()
    assert done == ["inner", "outer"]
    with pytest.raises(Interrupted), interruption.deferred():
        interruption.check()


def test_a_signal_whose_exception_was_lost_is_found_later(hears_signals):
    with suppress(Interrupted):  # as in a destructor
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        interruption.check()


def test_without_a_signal_nothing_happens(hears_signals):
    with interruption.deferred():
        interruption.check()
    assert interruption.received() is None


def test_a_thread_is_asked_to_stop_where_signals_are_not_installed_and_no_other_is(monkeypatch):
    monkeypatch.setattr(interruption, "_handler", interruption._Handler())
    here, done = threading.get_ident(), []

    def elsewhere():
        interruption.stop(here)
        interruption.check()
        done.append(interruption.received())

    other = threading.Thread(target=elsewhere)
    other.start()
    other.join()
    assert done == [None]
    assert interruption.received() == signal.SIGTERM
    with pytest.raises(Interrupted), interruption.deferred():
        done.append("step")
    assert done == [None, "step"], "what is deferred ends first"
    assert interruption.take_back(here)
    assert not interruption.take_back(here)
    interruption.check()


def test_stop_sends_a_signal_where_signals_are_installed(hears_signals):
    with pytest.raises(Interrupted, match="SIGTERM"):
        interruption.stop(threading.get_ident())
    assert not interruption.take_back(threading.get_ident())


def test_a_signal_that_the_program_was_started_to_ignore_stays_ignored(hears_signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    hears_signals()
    signal.raise_signal(signal.SIGHUP)
    assert interruption.received() is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/bin/thinwire", "sweep", "a b.yaml"], "thinwire sweep 'a b.yaml' --resume"),
        (["/x/__main__.py", "train", "f.yaml", "r2", "--resume"], "python -m thinwire train f.yaml r2 --resume"),
        (["thinwire", "sweep", "f.yaml", "--dry-run"], None),
        (["thinwire", "evaluate", "runs/a/r2"], None),
        (["thinwire"], None),
    ],
)
def test_the_resume_command_is_the_command_itself_with_resume(arguments, expected):
    assert resume_command(arguments) == expected
