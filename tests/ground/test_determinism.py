"""Seeded blocks of torch's global generators."""

from contextlib import suppress

import pytest
import torch

from thinwire.determinism import seeded

CPU = [torch.device("cpu")]


def test_a_seeded_block_draws_the_same_whatever_was_drawn_before_and_is_not_noticed_after():
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    first = torch.rand(1)
    with seeded(7, "dropout", 1, devices=CPU):
        one = torch.rand(3)
    second = torch.rand(3)
    with seeded(7, "dropout", 1, devices=CPU):
        assert torch.equal(torch.rand(3), one)
    with seeded(7, "dropout", 2, devices=CPU):
        assert not torch.equal(torch.rand(3), one)
    assert torch.equal(torch.cat([first, second]), expected)


def test_the_generators_are_restored_after_an_error():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with suppress(ZeroDivisionError), seeded(7, "vq", devices=CPU):
        torch.rand(3)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), state)


def test_a_block_on_a_cpu_leaves_gpus_alone(monkeypatch):
    def touched(*arguments, **options):
        pytest.fail("CUDA was touched")

    for name in ("get_rng_state", "set_rng_state", "manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, touched)
    with seeded(7, "dropout", 1, devices=CPU):
        torch.rand(3)


def test_each_gpu_in_use_is_seeded_and_restored(monkeypatch):
    """CUDA is replaced: there may be none here. Only what is asked of it is seen."""
    calls = []
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: f"state of {device}")
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: calls.append((state, str(device))))
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: calls.append(seed))

    class Within:
        def __init__(self, device):
            calls.append(f"on {device}")

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(torch.cuda, "device", Within)
    with seeded(7, "dropout", 1, devices=[torch.device("cuda:1"), torch.device("cuda:3")]):
        inside = list(calls)
    assert inside == ["on cuda:1", inside[1], "on cuda:3", inside[1]]
    assert calls[4:] == [("state of cuda:1", "cuda:1"), ("state of cuda:3", "cuda:3")]
