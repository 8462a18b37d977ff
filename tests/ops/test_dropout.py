"""Dropout masks: their statistics, and what they depend on."""

import torch

from thinwire.determinism import seeded
from thinwire.ops import dropout
from thinwire.ops.dropout import keep_mask


def test_a_mask_drops_with_its_probability_and_is_the_same_for_the_same_seed():
    like = torch.zeros(7, 4001)  # not a multiple of four, the numbers in a draw
    for probability in (0.05, 0.5, 0.9):
        with seeded(1, devices=[]):
            mask, another = keep_mask(like, probability), keep_mask(like, probability)
        with seeded(1, devices=[]):
            again = keep_mask(like, probability)
        assert mask.shape == like.shape
        assert mask.dtype == torch.bool
        assert torch.equal(mask, again)
        assert not torch.equal(mask, another)
        # The dropped part of n entries has a standard deviation of sqrt(p (1 - p) / n); allow five.
        tolerance = 5 * (probability * (1 - probability) / like.numel()) ** 0.5
        assert abs(float((~mask).float().mean()) - probability) < tolerance
        # The four numbers of a draw are independent: neighbours are dropped together only by chance.
        dropped = ~mask.flatten()
        for distance in (1, 2, 3, 4):
            both = float((dropped[:-distance] & dropped[distance:]).float().mean())
            assert abs(both - probability**2) < 5 * (probability**2 / like.numel()) ** 0.5 + 2 * probability * tolerance


def test_a_probability_of_zero_drops_nothing():
    assert keep_mask(torch.zeros(1000), 0.0).all()


def test_a_mask_is_the_same_on_any_number_of_cores(monkeypatch, set_threads):
    monkeypatch.setattr(dropout, "CHUNK_ENTRIES", 1000)
    like = torch.zeros(7, 501)  # three chunks and a part of one
    masks = []
    for number in (1, 3):
        set_threads(number)
        with seeded(1, devices=[]):
            masks.append(keep_mask(like, 0.5).flatten())
    assert torch.equal(*masks)
    whole, rest = masks[0][:3000].view(3, 1000), masks[0][3000:]
    assert len(whole.unique(dim=0)) == 3, "each chunk has its own numbers"
    assert rest.any()
    assert not rest.all()


def test_torch_can_trace_the_operator():
    torch.library.opcheck(keep_mask, (torch.zeros(3, 5), 0.5), test_utils=("test_schema", "test_faketensor"))
