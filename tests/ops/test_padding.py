"""Packed sequences in padded batches: worked by hand, and the same states as of each sequence alone."""

import torch

from thinwire.ops.packing import MIN_SHARED, pack
from thinwire.ops.padding import padded_states, unpacked


def test_sequences_of_similar_length_share_a_batch_padded_with_their_first_token():
    # Rows 0 to 3, 4 to 8 and 9 to 15; 5 is at most 1.25 x 4, but 7 is not.
    batches, places = unpacked(pack([[1] * 4, [2] * 5, [3] * 7], share=False).segments)
    assert [batch.tolist() for batch in batches] == [
        [[0, 1, 2, 3, 0], [4, 5, 6, 7, 8]],
        [[9, 10, 11, 12, 13, 14, 15]],
    ]
    assert places.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]


def test_a_shared_prefix_is_repeated_for_each_of_its_sequences():
    prefix = list(range(MIN_SHARED))
    packed = pack([[*prefix, 50, 51], [*prefix, 60]])
    assert len(packed.ids) == MIN_SHARED + 3
    (batch,), places = unpacked(packed.segments)
    ids = packed.ids[batch.numpy()]
    assert ids.tolist() == [[*prefix, 60, 0], [*prefix, 50, 51]]
    assert ids.flatten()[places.numpy()].tolist() == packed.ids.tolist()


def test_a_sequence_that_is_the_beginning_of_another_needs_no_place_of_its_own():
    short = list(range(MIN_SHARED))
    (batch,), _ = unpacked(pack([short, [*short, 40, 41], short]).segments)
    assert batch.shape == (1, MIN_SHARED + 2)


def test_states_are_computed_for_each_variant_on_its_own_embeddings():
    sequences = [[1, 2, 3], [4, 5], [6, 7, 8, 9, 10, 11]]
    packed = pack(sequences, share=False)
    embeddings = torch.randn(2, len(packed.ids), 3, generator=torch.Generator().manual_seed(0))
    shapes = []

    def decode(batch):  # the running sum: causal, so that padding must not matter
        shapes.append(tuple(batch.shape))
        return batch.cumsum(1)

    states = padded_states(decode, embeddings, packed.segments)
    assert shapes == [(2, 2, 3), (2, 3, 3), (2, 6, 3)]
    for rows in packed.rows:
        torch.testing.assert_close(states[:, rows], embeddings[:, rows].cumsum(1))
