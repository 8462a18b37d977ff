"""Claims: one owner at a time, whatever becomes of owners, clocks and file systems."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from contextvars import Context
from dataclasses import asdict, replace

import pytest

from thinwire import claims
from thinwire.claim_files import look
from thinwire.claims import ClaimLostError, alone, make_file_alone, take, writing_while_held
from thinwire.errors import StorageError, ThinwireError, UsageError
from thinwire.files import checking, replacing, write_text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "group"


def owner(path):
    return look(path).owner


def claimed_by(path, age=0.0, **changes):
    """Leave the claim of another owner, renewed ``age`` seconds ago."""
    with take(path) as claim:
        left = replace(claim.owner, **changes)
    path.write_text(json.dumps(asdict(left)))
    os.utime(path, (time.time() - age, time.time() - age))


ELSEWHERE = {"machine": "another", "host": "other"}


def test_a_claim_has_one_owner_until_it_is_released(path):
    with take(path, device="cuda:0", progress=3, steps=2) as claim:
        assert take(path) is None
        assert (owner(path).process, owner(path).device) == (os.getpid(), "cuda:0")
        assert (owner(path).progress, owner(path).steps) == (3, 2)
        assert not look(path).is_gone
        claim.check()
    assert look(path) is None
    assert not list(path.parent.iterdir()), "nothing is left"


def test_the_claim_of_a_process_of_this_machine_that_has_ended_is_taken_at_once(path):
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"from thinwire import claims; import os, pathlib; claims.take(pathlib.Path({str(path)!r}))",
        ],
        check=True,
    )
    assert look(path).is_gone
    with take(path) as claim:
        assert claim.owner.attempt == 2


def test_the_number_of_a_process_that_was_used_again_is_no_owner(path):
    claimed_by(path, 61, started=1.0)
    assert look(path).is_gone
    claimed_by(path, 0, started=1.0)
    assert not look(path).is_gone, "the clock may have been set"


@pytest.mark.parametrize(("age", "is_gone"), [(0, False), (59, False), (61, True)])
def test_an_owner_on_another_machine_is_gone_when_it_has_not_renewed_its_claim(path, age, is_gone):
    claimed_by(path, age, **ELSEWHERE)
    assert look(path).is_gone == is_gone
    claim = take(path)
    assert (claim is not None) == is_gone


def test_the_time_of_the_file_system_counts_and_not_that_of_this_host(path, monkeypatch):
    claimed_by(path, 30, **ELSEWHERE)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    assert not look(path).is_gone


def test_a_requeued_job_takes_what_it_had_claimed(path, monkeypatch):
    claimed_by(path, job="slurm-7", **ELSEWHERE)
    assert take(path) is None
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert take(path) is None, "another worker of the same job"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert take(path) is not None


@pytest.mark.parametrize("count", ["", "abc", "-1"])
def test_what_is_no_count_of_restarts_counts_as_none(path, monkeypatch, count):
    monkeypatch.setenv("SLURM_RESTART_COUNT", count)
    with take(path) as claim:
        assert claim.owner.restarts == 0


@pytest.mark.parametrize(("before", "now", "attempt"), [(5, 5, 2), (5, 6, 1)])
def test_owners_that_went_without_progress_are_counted(path, before, now, attempt):
    claimed_by(path, 99, progress=before, **ELSEWHERE)
    with take(path, progress=now) as claim:
        assert claim.owner.attempt == attempt


def test_a_claim_that_another_process_has_taken_is_lost(path, monkeypatch):
    with take(path) as claim:
        claim.check()
        path.rename(path.with_name("taken"))
        with take(path) as other:
            now = claims._clock()
            monkeypatch.setattr(claims, "_clock", lambda: now + 2)
            for _ in range(2):  # again, though it has just been looked at
                with pytest.raises(ClaimLostError, match="has taken group"):
                    claim.check()
            other.check()
    assert look(path) is None, "the second owner's release removed its own claim"


def test_a_process_that_is_killed_while_it_claims_holds_nothing(path):
    code = (
        "import os, pathlib, signal, sys; from thinwire import claims\n"
        "os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "claims.take(pathlib.Path(sys.argv[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -signal.SIGKILL
    with take(path) as claim:
        assert claim is not None
    assert not list(path.parent.iterdir())


def test_a_claim_whose_link_was_made_twice_is_held(path, monkeypatch):
    real = os.link

    def twice(source, target):  # as a network file system does that hears nothing of its first request
        real(source, target)
        real(source, target)

    monkeypatch.setattr(os, "link", twice)
    with take(path) as claim:
        claim.check(at_once=True)
        assert take(path) is None


def test_a_claim_is_new_also_if_its_process_was_suspended_before_it_got_its_name(path, monkeypatch):
    real = os.link

    def late(source, target):
        os.utime(source, (time.time() - 100, time.time() - 100))
        real(source, target)

    monkeypatch.setattr(os, "link", late)
    claim = take(path)
    assert look(path).age < 50
    with claim:
        pass


def test_a_claim_is_made_again_whose_temporary_file_another_process_has_removed(path, monkeypatch):
    real, removed = os.link, []

    def remove_first(source, target):
        if not removed:
            removed.append(source.unlink())
        real(source, target)

    monkeypatch.setattr(os, "link", remove_first)
    with take(path) as claim:
        claim.check(at_once=True)
    assert removed


def test_a_claim_that_is_released_when_it_was_to_be_taken_is_taken_next(path, monkeypatch):
    real, held = os.link, ExitStack()
    held.enter_context(take(path))

    def too_late(source, target):
        try:
            real(source, target)
        except FileExistsError:
            held.close()
            raise

    monkeypatch.setattr(os, "link", too_late)
    monkeypatch.setattr(os.path, "lexists", lambda _: False)  # it was not there a moment ago
    with take(path) as claim:
        claim.check(at_once=True)


def test_without_hard_links_a_claim_has_one_owner(path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with take(path) as claim:
        claim.check(at_once=True)
        assert take(path) is None
    assert not list(path.parent.iterdir())


def test_files_are_written_only_while_the_claim_is_held(path, monkeypatch):
    file = path.with_name("file")
    now = claims._clock()
    with pytest.raises(ClaimLostError), take(path) as claim, writing_while_held(claim):  # noqa: PT012
        write_text(file, "its owner's")
        path.rename(path.with_name("taken"))
        monkeypatch.setattr(claims, "_clock", lambda: now + 2)
        write_text(file, "late")
    assert file.read_text() == "its owner's"


def test_what_cannot_be_written_because_the_new_owner_has_moved_it_is_a_lost_claim(path):
    def write(claim, is_lost):
        with claim, writing_while_held(claim), replacing(path.parent / "arm" / "file"):
            (path.parent / "arm").rename(path.parent / f"aside-{is_lost}")
            if is_lost:
                path.rename(path.with_name("taken"))

    with pytest.raises(StorageError, match="ENOENT"):
        write(take(path), is_lost=False)
    with pytest.raises(ClaimLostError):
        write(take(path), is_lost=True)


def test_a_claim_that_was_lost_is_not_removed_by_its_first_owner(path):
    first = take(path)
    with first:
        path.rename(path.with_name("taken"))
        second = take(path)
        second.__enter__()
    assert look(path) is not None
    second.__exit__()


def test_an_unreadable_claim_counts_by_its_age(path):
    path.write_text("{")
    assert take(path) is None
    os.utime(path, (1, 1))
    assert take(path) is not None


def test_claims_are_renewed_while_they_are_held(path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CLAIM_SECONDS", "0.6")
    with take(path):
        time.sleep(1.5)
        assert look(path).age < 0.5


def test_a_full_disk_leaves_no_claim(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match="No space left"):
        take(path)
    assert not path.exists()


@pytest.mark.parametrize("text", ["soon", "0", "-3", "inf"])
def test_a_duration_that_is_none_is_refused(path, monkeypatch, text):
    monkeypatch.setenv("THINWIRE_CLAIM_SECONDS", text)
    with pytest.raises(UsageError, match=f"THINWIRE_CLAIM_SECONDS={text} is no number of seconds"):
        take(path)
    assert not path.exists()


def test_a_place_that_can_neither_be_claimed_nor_read_is_an_error_and_no_hang(path, monkeypatch):
    monkeypatch.setattr(claims, "_MOST_TRIES", 3)
    path.mkdir()
    with pytest.raises(StorageError, match="can neither be claimed nor read"):
        take(path)


def test_waiting_says_for_whom(path, caplog, monkeypatch):
    monkeypatch.setattr(claims, "_PATIENCE", 0.0)
    claimed_by(path, 59.5, **ELSEWHERE)
    with caplog.at_level("INFO", logger="thinwire"):
        alone(path, "the codec", lambda: None)
    assert f"waiting for the codec (process {os.getpid()} on other)" in caplog.text


def test_what_is_done_alone_is_done_again_by_who_has_lost_the_claim_to_it_and_no_other(path):
    done = []

    def act():
        done.append(look(path) is not None)
        if len(done) == 1:
            path.rename(path.with_name("taken"))
            raise ThinwireError("a file is not where it was")
        return "made"

    assert alone(path, "the codec", act) == "made"
    assert done == [True, True]
    done.clear()
    with pytest.raises(ClaimLostError):
        alone(path, "the codec", act, again=False)
    done.append(True)
    around = path.with_name("around")

    def lose():
        around.unlink()
        done.append(True)
        write_text(path.with_name("file"), "")

    with pytest.raises(ClaimLostError, match="has taken around"), take(around) as claim:  # noqa: PT012
        claim._seen -= 100
        with writing_while_held(claim):
            alone(path, "the codec", lose)
    assert len(done) == 3


def test_a_file_that_was_made_by_another_is_not_replaced_by_who_was_suspended_while_it_made_its_own(path):
    """Records name its content, which may differ between hosts by rounding."""
    file, made = path.with_name("codec"), []

    def make():
        made.append(1)
        if len(made) == 1:
            with checking(overtaken):
                write_text(file, "the first's")
        else:
            write_text(file, "the second's")

    def overtaken():
        path.with_name(".codec.claim").unlink()
        Context().run(make_file_alone, file, "the codec", make)  # without the checks of the first

    make_file_alone(file, "the codec", make)
    assert (len(made), file.read_text()) == (2, "the second's")
    assert [entry.name for entry in path.parent.iterdir()] == ["codec"]


def _leave(path):
    """Leave the claim of a process that has ended."""
    claim = take(path)
    if claim is not None:
        os._exit(0)


def _race(path, held):
    wins = 0
    for number in range(100):
        if number % 4 == 0 and (process := os.fork()) == 0:
            _leave(path)
            os._exit(0)
        if number % 4 == 0:
            os.waitpid(process, 0)
        claim = take(path)
        if claim is not None:
            with claim:
                claim._seen = 0.0  # look at once
                try:
                    claim.check()
                except ClaimLostError:  # what an owner finds out before it writes
                    continue
                assert held.acquire(block=False), "two owners at once"
                wins += 1
                time.sleep(0.001)
                held.release()
    sys.exit(0 if wins else 3)


def test_processes_that_race_hold_it_one_at_a_time(path):
    context = multiprocessing.get_context("fork")
    held = context.Lock()
    processes = [context.Process(target=_race, args=(path, held)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert {process.exitcode for process in processes} <= {0, 3}
    assert 0 in {process.exitcode for process in processes}
