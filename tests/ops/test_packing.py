"""Prefix trees worked out by hand, and properties of all prefix trees."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.ops.packing import MIN_SHARED, Packed, pack, sort_key
from tiny_models import uses_of_each_row

TEMPLATE = list(range(100, 120))
TOWN, RIVER = list(range(200, 225)), list(range(300, 318))
"""Two paragraphs that differ from their first token on."""


def segments_of(packed: Packed) -> list[tuple[list[int], list[int]]]:
    """For each segment its tokens, and the tokens of its keys."""
    s = packed.segments
    queries = [slice(a, b) for a, b in itertools.pairwise(s.query_ends.tolist())]
    keys = [s.key_rows[a:b].numpy() for a, b in itertools.pairwise(s.key_ends.tolist())]
    return [(packed.ids[own].tolist(), packed.ids[rows].tolist()) for own, rows in zip(queries, keys, strict=True)]


def test_a_template_a_paragraph_and_questions_make_a_tree_of_three_levels():
    questions = [
        [*TEMPLATE, *TOWN, 1, 2],
        [*TEMPLATE, *RIVER, 3],
        [*TEMPLATE, *TOWN, 4, 5, 6],
    ]
    packed = pack(questions)
    # The template; below it the town and its two questions, then the river with its only question: one segment.
    assert segments_of(packed) == [
        (TEMPLATE, TEMPLATE),
        (TOWN, TEMPLATE + TOWN),
        ([1, 2], [*TEMPLATE, *TOWN, 1, 2]),
        ([4, 5, 6], [*TEMPLATE, *TOWN, 4, 5, 6]),
        ([*RIVER, 3], [*TEMPLATE, *RIVER, 3]),
    ]
    # 20 + 25 + 2 + 3 + 19 rows. The second question's own segment begins after the template, at position 20.
    assert len(packed.ids) == 69
    assert packed.positions.tolist() == [*range(45), 45, 46, 45, 46, 47, *range(20, 39)]
    assert packed.rows[0].tolist() == [*range(47)]
    assert packed.rows[1].tolist() == [*range(20), *range(50, 69)]
    assert packed.rows[2].tolist() == [*range(45), 47, 48, 49]
    assert packed.segments.query_ends.tolist() == [0, 20, 45, 47, 50, 69]
    assert packed.segments.key_ends.tolist() == [0, 20, 65, 112, 160, 199]
    assert (packed.segments.longest_query, packed.segments.longest_key) == (25, 48)
    # The first row is the template's: a key of all five segments. The 21st is the town's: a key of three. The last
    # is a key of its own segment only.
    inverse_index = uses_of_each_row(packed.segments.inverse_index)
    assert [inverse_index[row] for row in (0, 20, 68)] == [[0, 20, 65, 112, 160], [40, 85, 132], [198]]
    assert packed.segments.inverse_index.num_shared == 45


@pytest.mark.parametrize(("length", "shared"), [(MIN_SHARED - 1, False), (MIN_SHARED, True)])
def test_a_prefix_is_shared_from_the_minimum_length_on(length, shared):
    prefix = list(range(50, 50 + length))
    packed = pack([[*prefix, 1, 2], [*prefix, 3]])
    if shared:
        assert segments_of(packed) == [(prefix, prefix), ([1, 2], [*prefix, 1, 2]), ([3], [*prefix, 3])]
    else:
        assert segments_of(packed) == [([*prefix, 1, 2],) * 2, ([*prefix, 3],) * 2]


def test_a_deeper_level_of_the_tree_is_not_shared_either_if_it_is_too_short():
    # After the template, two of the three share only 15 more tokens, which are computed in each.
    alike = list(range(50, 65))
    packed = pack([[*TEMPLATE, *alike, 1], [*TEMPLATE, *alike, 2], [*TEMPLATE, 3]])
    assert [own for own, _ in segments_of(packed)] == [TEMPLATE, [3], [*alike, 1], [*alike, 2]]


def test_a_sequence_that_is_a_prefix_of_another_has_no_segment_of_its_own():
    packed = pack([[*TEMPLATE, 7, 8], TEMPLATE])
    assert segments_of(packed) == [(TEMPLATE, TEMPLATE), ([7, 8], [*TEMPLATE, 7, 8])]
    assert [rows.tolist() for rows in packed.rows] == [[*range(22)], [*range(20)]]


def test_a_short_sequence_that_is_a_prefix_of_another_keeps_its_own_segment():
    packed = pack([[1, 2, 3], [1, 2]])
    assert segments_of(packed) == [([1, 2],) * 2, ([1, 2, 3],) * 2]
    assert [rows.tolist() for rows in packed.rows] == [[2, 3, 4], [0, 1]]


def test_equal_sequences_are_computed_once_however_short():
    packed = pack([[5, 6], [7], [5, 6]])
    assert packed.ids.tolist() == [5, 6, 7]
    assert [rows.tolist() for rows in packed.rows] == [[0, 1], [2], [0, 1]]


def test_without_sharing_every_sequence_is_one_segment_in_the_given_order():
    sequences = [[*TEMPLATE, 9], [*TEMPLATE, 1], [*TEMPLATE, 9]]
    packed = pack(sequences, share=False)
    assert segments_of(packed) == [(sequence, sequence) for sequence in sequences]
    assert packed.positions.tolist() == [*range(21)] * 3
    assert [rows.tolist() for rows in packed.rows] == [[*range(21)], [*range(21, 42)], [*range(42, 63)]]


def test_an_empty_sequence_is_refused():
    with pytest.raises(AssertionError, match="an empty sequence has no row"):
        pack([[1], []])


# Few tokens and long repeated blocks, so that prefixes of all lengths are shared, at several levels.
BLOCKS = [[0], [1], [0, 1], [0] * 15, [1] * 16, list(range(20)), TEMPLATE]
SEQUENCES = st.lists(
    st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=5).map(lambda blocks: list(itertools.chain(*blocks))),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, derandomize=True)
@given(SEQUENCES, st.booleans())
def test_every_sequence_can_be_recovered_with_its_positions(sequences, share):
    packed = pack(sequences, share=share)
    for sequence, rows in zip(sequences, packed.rows, strict=True):
        assert packed.ids[rows].tolist() == list(sequence)
        assert packed.positions[rows].tolist() == list(range(len(sequence)))
    # Every row belongs to a sequence.
    assert sorted(set(np.concatenate(packed.rows).tolist())) == list(range(len(packed.ids)))
    assert share or len(packed.ids) == sum(map(len, sequences))


@settings(deadline=None, derandomize=True)
@given(SEQUENCES, st.booleans())
def test_a_segments_keys_are_its_ancestors_and_its_own_rows_in_the_order_of_positions(sequences, share):
    packed = pack(sequences, share=share)
    s = packed.segments
    assert s.query_ends.dtype == s.key_ends.dtype == torch.int32
    queries = list(itertools.pairwise(s.query_ends.tolist()))
    keys = [s.key_rows[a:b].tolist() for a, b in itertools.pairwise(s.key_ends.tolist())]
    for (start, end), own_keys in zip(queries, keys, strict=True):
        assert own_keys[start - end :] == list(range(start, end)), "its own rows come last"
        assert packed.positions[own_keys].tolist() == list(range(len(own_keys)))
        # A row's keys are what comes before it in each of its sequences.
        users = [rows.tolist() for rows in packed.rows if start in rows]
        assert users
        assert all(rows[: len(own_keys)] == own_keys for rows in users)
    assert uses_of_each_row(s.inverse_index) == [
        (s.key_rows == row).nonzero().flatten().tolist() for row in range(len(packed.ids))
    ]
    assert s.longest_query == max(end - start for start, end in queries)
    assert s.longest_key == max(map(len, keys))


def plain_segments(sequences, depth=0):
    """The segments of sorted ``sequences`` that share ``depth`` tokens, found token by token."""
    found = []
    remaining = [sequence for sequence in sequences if len(sequence) > depth]
    for _, run in itertools.groupby(remaining, key=lambda sequence: sequence[depth : depth + MIN_SHARED]):
        group = list(run)
        columns = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*group, strict=False))
        end = len(list(columns))
        found += [(group[0][depth:end], group[0][:end]), *(plain_segments(group, end) if len(group) > 1 else [])]
    return found


@settings(deadline=None, derandomize=True)
@given(SEQUENCES)
def test_the_segments_are_those_of_a_tree_built_token_by_token(sequences):
    assert segments_of(pack(sequences)) == plain_segments(sorted(sequences))


@settings(deadline=None, derandomize=True)
@given(st.lists(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1)), max_size=4), max_size=8))
def test_sort_keys_are_ordered_as_their_token_ids(sequences):
    assert sorted(sequences, key=sort_key) == sorted(sequences)


@settings(deadline=None, derandomize=True)
@given(SEQUENCES, st.booleans(), st.integers(1, 4))
def test_repeated_segments_are_those_of_the_copies_packed_by_hand(sequences, share, times):
    # Each copy has different tokens, so that copies share nothing.
    copies = [[token + 1000 * copy for token in sequence] for copy in range(times) for sequence in sequences]
    expected, repeated = pack(copies, share=share).segments, pack(sequences, share=share).segments.repeated(times)
    # Unshared rows that count as shared may differ.
    assert uses_of_each_row(repeated.inverse_index) == uses_of_each_row(expected.inverse_index)
    assert all(tensor.dtype == torch.int64 for tensor in repeated.inverse_index.tensors)
    for name in vars(expected).keys() - {"inverse_index"}:
        found, value = getattr(repeated, name), getattr(expected, name)
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value
        assert not isinstance(value, torch.Tensor) or found.dtype == value.dtype
