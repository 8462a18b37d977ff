"""Padded passes: their sizes, and that nothing real changes. What they do to training is in test_train.py."""

from dataclasses import fields, replace
from itertools import pairwise
from statistics import mean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles import example, who_reads
from thinwire.batching import make_pass
from thinwire.padding import Sizes, padded, plan_sizes, sizes_of
from thinwire.prompts import Encoded
from thinwire.seeding import stream

BEGINNINGS = [[50] * 20, [50] * 20 + [60] * 30, [70] * 17]


@st.composite
def passes(draw):
    """Prompts that share some beginnings, with answers of up to four tokens."""

    def question():
        beginning = draw(st.sampled_from([[], *BEGINNINGS]))
        rest = draw(st.lists(st.integers(0, 90), min_size=1, max_size=40))
        answer = draw(st.lists(st.integers(0, 90), min_size=1, max_size=4))
        return encoded([*beginning, *rest], answer)

    return make_pass([question() for _ in range(draw(st.integers(1, 9)))], k_tokens=4)


def encoded(prompt, answer):
    return Encoded(example=example(0), prompt_ids=tuple(prompt), answer_ids=tuple(answer), dropped=0)


def attended(one):
    """For each segment its rows, and all rows that they may look at."""
    keys = one.segments.key_rows.tolist()
    ends, key_ends = one.segments.query_ends.tolist(), one.segments.key_ends.tolist()
    return [
        (list(range(*own)), keys[slice(*looked_at)])
        for own, looked_at in zip(pairwise(ends), pairwise(key_ends), strict=True)
    ]


several = settings(deadline=None)(given(st.lists(passes(), min_size=1, max_size=9)))


@several
def test_every_pass_that_was_planned_for_is_padded_to_a_planned_size(found):
    planned = plan_sizes([sizes_of(one) for one in found])
    assert 1 <= len(planned) <= 8
    assert {sizes_of(padded(one, planned)) for one in found} <= set(planned)


@several
def test_what_was_there_stays_as_it_was(found):
    planned = plan_sizes([sizes_of(one) for one in found])
    for one in found:
        more = padded(one, planned)
        for name in ("tokens", "indices", "positions", "prompt_counts", "answer_rows", "answer_ids", "answer_places"):
            before, after = getattr(one, name), getattr(more, name)
            assert torch.equal(after[: len(before)], before)
        assert attended(more)[: len(attended(one))] == attended(one)
        assert [tensor.dtype for tensor in more.tensors] == [tensor.dtype for tensor in one.tensors]


@several
def test_padding_counts_nowhere_and_looks_at_padding_alone(found):
    planned = plan_sizes([sizes_of(one) for one in found])
    for one in found:
        more = padded(one, planned)
        assert not more.prompt_counts[len(one.tokens) :].any()
        assert (more.answer_places[len(one.answer_places) :] > 10**9).all()
        num_rows = len(one.indices)
        for own, keys in attended(more)[len(attended(one)) :]:
            assert min([*own, *keys], default=num_rows) >= num_rows
            assert keys[len(keys) - len(own) :] == own, "a segment's own rows are the last that it looks at"
            assert own or not keys, "keys that no row looks at would be left without a gradient"


@several
def test_every_row_is_in_a_segment_and_no_segment_is_longer_than_announced(found):
    planned = plan_sizes([sizes_of(one) for one in found])
    for one in found:
        more = padded(one, planned)
        segments = more.segments
        assert [row for own, _ in attended(more) for row in own] == list(range(len(more.indices)))
        assert max(len(own) for own, _ in attended(more)) <= segments.longest_query
        assert max(len(keys) for _, keys in attended(more)) <= segments.key_room
        assert segments.longest_key <= max(len(keys) for other in found for _, keys in attended(other))
        assert int(segments.key_ends[-1]) == len(segments.key_rows)
        keys = segments.key_rows.tolist()
        assert who_reads(segments.readers) == [
            [at for at, row in enumerate(keys) if row == own] for own in range(len(more.indices))
        ]


@settings(deadline=None)
@given(passes(), passes())
def test_a_pass_is_padded_to_a_planned_size_or_left_as_it_is(one, other):
    planned = plan_sizes([sizes_of(one)])
    more = padded(other, planned)
    assert more is other or [sizes_of(more)] == planned


@pytest.mark.parametrize("size", [field.name for field in fields(Sizes)])
def test_a_size_that_holds_too_little_of_anything_is_not_taken(size):
    one = make_pass([encoded([*BEGINNINGS[0], n], [1, 2]) for n in range(3)], k_tokens=2)
    own, (room,) = sizes_of(one), plan_sizes([sizes_of(one)])
    assert padded(one, [room]) is not one
    assert padded(one, [replace(room, **{size: getattr(own, size) - 1})]) is one


def test_a_pass_of_one_token():
    (planned,) = plan_sizes([sizes_of(make_pass([encoded([7], [1])], k_tokens=1))])
    assert (planned.rows, planned.inherited, planned.longest_query, planned.key_room) == (8, 0, 1, 1)
    assert planned.segments == 8  # one, and seven padding rows, each a segment as long as the longest
    assert padded(make_pass([encoded([8], [2])], k_tokens=1), [planned]).segments.query_ends.tolist() == [*range(9)]


def test_the_smallest_size_that_holds_a_pass_is_taken():
    found = [make_pass([encoded(range(length), [1, 2])], k_tokens=2) for length in (100, 200, 400)]
    planned = plan_sizes([sizes_of(one) for one in found])
    # A prompt and the first of two answer tokens, and a padding row at least, in eights.
    assert [room.rows for room in planned] == [104, 208, 408]
    between = make_pass([encoded(range(150), [1, 2])], k_tokens=2)
    assert sizes_of(padded(between, planned)) == planned[1]
    larger = make_pass([encoded(range(500), [1, 2])], k_tokens=2)
    assert padded(larger, planned) is larger


def test_there_is_little_padding_and_later_epochs_have_their_places():
    random = stream(0, "padding")

    def epoch():
        """Steps of 32 questions as SQuAD has them: a common beginning, 50 to 450 tokens, an answer."""
        for _ in range(60):
            lengths = [50 + int(random.gammavariate(4, 35)) for _ in range(32)]
            texts = [[random.randrange(5000) for _ in range(length)] for length in lengths]
            yield make_pass([encoded([*range(39), *text], [1, 2, 3, 4]) for text in texts], k_tokens=4)

    found = [sizes_of(one) for one in epoch()]
    planned = plan_sizes(found)
    later = [(sizes_of(one), sizes_of(padded(one, planned))) for one in epoch()]
    assert mean(more.rows / one.rows for one, more in later) < 1.05
    assert mean(more in planned for _, more in later) > 0.9
