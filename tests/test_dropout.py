import torch

from thinwire import dropout
from thinwire.determinism import seeded
from thinwire.dropout import keep_mask


def test_a_mask_drops_its_share_and_is_the_same_for_the_same_seed():
    like = torch.zeros(7, 4001)  # no multiple of four: draws are used in fours
    for share in (0.05, 0.5, 0.9):
        with seeded(1):
            mask, another = keep_mask(like, share), keep_mask(like, share)
        with seeded(1):
            again = keep_mask(like, share)
        assert mask.shape == like.shape
        assert mask.dtype == torch.bool
        assert torch.equal(mask, again)
        assert not torch.equal(mask, another)
        # A binomial share of n entries has a standard deviation of sqrt(p (1 - p) / n); five of them never happen.
        tolerance = 5 * (share * (1 - share) / like.numel()) ** 0.5
        assert abs(float((~mask).float().mean()) - share) < tolerance
        # The four numbers of a draw are independent: neighbours are dropped together by chance alone.
        dropped = ~mask.flatten()
        for distance in (1, 2, 3, 4):
            both = float((dropped[:-distance] & dropped[distance:]).float().mean())
            assert abs(both - share**2) < 5 * (share**2 / like.numel()) ** 0.5 + 2 * share * tolerance


def test_no_share_drops_nothing():
    assert keep_mask(torch.zeros(1000), 0.0).all()


def test_a_mask_is_the_same_on_any_number_of_cores(monkeypatch, set_threads):
    monkeypatch.setattr(dropout, "_PIECE", 1000)
    like = torch.zeros(7, 501)  # three pieces and a part of one
    masks = []
    for number in (1, 3):
        set_threads(number)
        with seeded(1):
            masks.append(keep_mask(like, 0.5).flatten())
    assert torch.equal(*masks)
    whole, rest = masks[0][:3000].view(3, 1000), masks[0][3000:]
    assert len(whole.unique(dim=0)) == 3, "each piece has numbers of its own"
    assert rest.any()
    assert not rest.all()


def test_the_mask_is_an_operator_that_torch_can_trace():
    torch.library.opcheck(keep_mask, (torch.zeros(3, 5), 0.5), test_utils=("test_schema", "test_faketensor"))
