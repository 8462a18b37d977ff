"""Padded passes: their sizes, and that nothing real changes. What they do to training is in test_train.py."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles import example
from thinwire.batching import make_pass
from thinwire.padding import _rounded, padded, sizes
from thinwire.prompts import Encoded

BEGINNINGS = [[50] * 20, [50] * 20 + [60] * 30, [70] * 17]


@st.composite
def questions(draw):
    """Prompts that share some beginnings, with answers of up to four tokens."""

    def question():
        beginning = draw(st.sampled_from([[], *BEGINNINGS]))
        rest = draw(st.lists(st.integers(0, 90), min_size=1, max_size=40))
        answer = draw(st.lists(st.integers(0, 90), min_size=1, max_size=4))
        return Encoded(example=example(0), prompt_ids=(*beginning, *rest), answer_ids=tuple(answer), dropped=0)

    return [question() for _ in range(draw(st.integers(1, 9)))]


def attended(one):
    """For each segment its rows, and all rows that they may look at."""
    ends, key_ends = one.segments.query_ends.tolist(), one.segments.key_ends.tolist()
    keys = one.segments.key_rows.tolist()
    return [(list(range(ends[i], ends[i + 1])), keys[key_ends[i] : key_ends[i + 1]]) for i in range(len(ends) - 1)]


@settings(deadline=None)
@given(questions())
def test_what_was_there_stays_as_it_was(some):
    one = make_pass(some, k_tokens=4)
    more = padded(one)
    for name in ("tokens", "indices", "positions", "prompt_counts", "answer_rows", "answer_ids", "answer_places"):
        before, after = getattr(one, name), getattr(more, name)
        assert after.dtype == before.dtype
        assert torch.equal(after[: len(before)], before)
    assert attended(more)[: len(attended(one))] == attended(one)
    for before, after in zip(one.segments.tensors, more.segments.tensors, strict=True):
        assert after.dtype == before.dtype


@settings(deadline=None)
@given(questions())
def test_padding_counts_nowhere_and_looks_at_padding_alone(some):
    one = make_pass(some, k_tokens=4)
    more = padded(one)
    assert not more.prompt_counts[len(one.tokens) :].any()
    assert (more.answer_places[len(one.answer_places) :] > 10**9).all()
    num_rows = len(one.indices)
    for own, keys in attended(more)[len(attended(one)) :]:
        assert min([*own, *keys], default=num_rows) >= num_rows
        assert keys[len(keys) - len(own) :] == own, "a segment's own rows are the last that it looks at"
        assert own or not keys, "a key that no row looks at would never get a gradient"


@settings(deadline=None)
@given(questions())
def test_every_row_is_in_a_segment_and_no_segment_is_longer_than_announced(some):
    more = padded(make_pass(some, k_tokens=4))
    segments = more.segments
    assert [row for own, _ in attended(more) for row in own] == list(range(len(more.indices)))
    assert max(len(own) for own, _ in attended(more)) <= segments.longest_query
    assert max(len(keys) for _, keys in attended(more)) <= segments.longest_key
    assert int(segments.key_ends[-1]) == len(segments.key_rows)
    # Who reads a row, for every row.
    keys, ends = segments.key_rows.tolist(), segments.reader_ends.tolist()
    readers = [segments.readers[start:end].tolist() for start, end in pairwise(ends)]
    assert readers == [[at for at, row in enumerate(keys) if row == wanted] for wanted in range(len(more.indices))]


@settings(deadline=None)
@given(questions())
def test_sizes_are_multiples_of_eight_at_least(some):
    tokens, rows, *_ = sizes(padded(make_pass(some, k_tokens=4)))
    assert (tokens % 8, rows % 8) == (0, 0)


@pytest.mark.parametrize(
    ("number", "parts", "expected"),
    [
        (0, 8, 0),
        (1, 8, 8),
        (9, 8, 16),
        (100, 8, 104),  # an eighth of 64 is 8
        (1024, 8, 1024),
        (1025, 8, 1152),
        (7200, 8, 7680),
        (1700, 2, 2048),
        (1500, 2, 1536),
        (33, 4, 40),
    ],
)
def test_numbers_are_rounded_up_to_a_part_of_the_power_of_two_below(number, parts, expected):
    assert _rounded(number, parts) == expected


def test_a_pass_grows_by_an_eighth_at_most_and_passes_alike_have_one_size():
    def one(length):
        question = Encoded(example=example(0), prompt_ids=tuple(range(length)), answer_ids=(1, 2), dropped=0)
        return padded(make_pass([question], k_tokens=2))

    found = {sizes(one(length)) for length in range(600, 1000)}
    assert len(found) <= 12
    assert all(len(one(length).indices) <= 1.125 * (length + 2) for length in range(600, 1000, 7))
