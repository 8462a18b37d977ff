"""Pieces of work in several threads, in each of which torch computes on one core."""

from __future__ import annotations

import threading

import pytest
import torch

from thinwire.ops.threads import parallel_for


@pytest.fixture(params=[1, 2, 3])
def threads(request, set_threads):
    set_threads(request.param)
    return request.param


def test_every_piece_is_done_once_without_gradients_in_threads_of_one_core(threads):
    rows = torch.ones(20, 3, requires_grad=True)
    doubled, seen = torch.zeros(20, 3), set()

    def work(number: int) -> None:
        assert not torch.is_grad_enabled()
        torch.add(doubled[number], 2 * rows[number], out=doubled[number])
        seen.add(torch.get_num_threads())

    parallel_for(work, range(20))
    assert torch.equal(doubled, torch.full((20, 3), 2.0))
    assert seen == {1}
    assert torch.is_grad_enabled()


def test_a_single_piece_has_all_threads_to_itself(threads):
    seen = []
    parallel_for(lambda _: seen.append((torch.get_num_threads(), threading.current_thread())), [0])
    parallel_for(lambda _: seen.append("never"), [])
    assert seen == [(threads, threading.current_thread())]


def test_threads_run_at_the_same_time_and_the_process_keeps_its_number_of_threads(threads):
    all_here = threading.Barrier(threads, timeout=60)
    parallel_for(lambda _: all_here.wait() and None, range(threads))
    others = []
    new = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert (torch.get_num_threads(), others) == (threads, [threads])


def test_an_exception_of_a_piece_is_raised(threads):
    def work(number: int) -> None:
        if number == 3:
            raise ValueError(f"piece {number}")

    with pytest.raises(ValueError, match="piece 3"):
        parallel_for(work, range(5))
    done = []
    parallel_for(done.append, range(5))
    assert sorted(done) == [0, 1, 2, 3, 4]
