"""Attention within contexts against attention under a mask, and the bounds of contexts by hand."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from thinwire.ops.context_attention import context_attention, contexts_of


def test_contexts_begin_where_numbers_change_and_blocks_without_one_are_alone():
    numbers = torch.tensor([-1, -1, 0, 0, 3, 3, 3, -1])
    found = contexts_of(numbers, torch.tensor([9, 9, 0, 1, 0, 1, 2, 9]), 2, 3)
    # Six contexts of 1, 1, 2, 3 and 1 blocks of two tokens; then their common end.
    assert found.ends.tolist() == [0, 2, 4, 8, 14, 16, 16, 16, 16]
    assert found.places[4:14].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]
    assert found.longest == 6


def test_there_may_be_no_context():
    none = torch.zeros(0, dtype=torch.int64)
    contexts, nothing = contexts_of(none, none, 2, 1), torch.zeros(0, 3, 4)
    assert context_attention(nothing, nothing, nothing, contexts, 1.0).shape == (0, 3, 4)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(1, 3), st.sampled_from([1, 2, 4]))
def test_a_query_attends_to_its_own_context_alone(lengths, size, groups):
    numbers = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    places = torch.cat([torch.arange(length) for length in lengths])
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(len(numbers) * size, 4, 8, generator=draw)
    k, v = (torch.randn(len(q), groups, 8, generator=draw) for _ in range(2))
    found = context_attention(q, k, v, contexts_of(numbers, places, size, max(lengths)), 0.3)
    own = numbers.repeat_interleave(size)
    whole = (rows.transpose(0, 1) for rows in (q, *(one.repeat_interleave(4 // groups, 1) for one in (k, v))))
    expected = nn.functional.scaled_dot_product_attention(*whole, attn_mask=own[:, None] == own, scale=0.3)
    assert torch.allclose(found, expected.transpose(0, 1), atol=1e-5)
