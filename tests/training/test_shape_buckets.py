"""Micro-batches padded to shape buckets: which bucket, and that padding changes nothing else.

Training with padded micro-batches is tested in test_trainer.py.
"""

from dataclasses import fields, replace
from itertools import pairwise
from statistics import mean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.data.prompts import Encoded
from thinwire.seeding import stream
from thinwire.training.microbatches import make_micro_batch
from thinwire.training.shape_buckets import ShapeBucket, padded, plan_buckets, shape_of
from tiny_models import example, uses_of_each_row

PREFIXES = [[50] * 20, [50] * 20 + [60] * 30, [70] * 17]


@st.composite
def micro_batches(draw):
    """Draw a micro-batch of prompts that share some prefixes, with answers of up to four tokens."""

    def question():
        prefix = draw(st.sampled_from([[], *PREFIXES]))
        rest = draw(st.lists(st.integers(0, 90), min_size=1, max_size=40))
        answer = draw(st.lists(st.integers(0, 90), min_size=1, max_size=4))
        return encoded([*prefix, *rest], answer)

    return make_micro_batch([question() for _ in range(draw(st.integers(1, 9)))], k_tokens=4)


def encoded(prompt, answer):
    return Encoded(example=example(0), prompt_ids=tuple(prompt), answer_ids=tuple(answer), dropped=0)


def attended(micro_batch):
    """For each segment its rows and its keys."""
    keys = micro_batch.segments.key_rows.tolist()
    ends, key_ends = micro_batch.segments.query_ends.tolist(), micro_batch.segments.key_ends.tolist()
    return [
        (list(range(*own)), keys[slice(*own_keys)])
        for own, own_keys in zip(pairwise(ends), pairwise(key_ends), strict=True)
    ]


several = settings(deadline=None)(given(st.lists(micro_batches(), min_size=1, max_size=9)))


@several
def test_every_micro_batch_that_was_planned_for_is_padded_to_a_planned_bucket(found):
    planned = plan_buckets([shape_of(micro_batch) for micro_batch in found])
    assert 1 <= len(planned) <= 8
    assert {shape_of(padded(micro_batch, planned)) for micro_batch in found} <= set(planned)


@pytest.mark.slow
@several
def test_padding_changes_no_existing_entry(found):
    planned = plan_buckets([shape_of(micro_batch) for micro_batch in found])
    for micro_batch in found:
        more = padded(micro_batch, planned)
        for name in ("tokens", "indices", "positions", "prompt_counts", "answer_rows", "answer_ids", "answer_places"):
            before, after = getattr(micro_batch, name), getattr(more, name)
            assert torch.equal(after[: len(before)], before)
        assert attended(more)[: len(attended(micro_batch))] == attended(micro_batch)
        assert [tensor.dtype for tensor in more.tensors] == [tensor.dtype for tensor in micro_batch.tensors]


@pytest.mark.slow
@several
def test_padding_has_no_weight_and_attends_only_to_padding(found):
    planned = plan_buckets([shape_of(micro_batch) for micro_batch in found])
    for micro_batch in found:
        more = padded(micro_batch, planned)
        assert not more.prompt_counts[len(micro_batch.tokens) :].any()
        assert (more.answer_places[len(micro_batch.answer_places) :] > 10**9).all()
        num_rows = len(micro_batch.indices)
        for own, keys in attended(more)[len(attended(micro_batch)) :]:
            assert min([*own, *keys], default=num_rows) >= num_rows
            assert keys[len(keys) - len(own) :] == own, "a segment's own rows are its last keys"
            assert own or not keys, "keys without a query would get no gradient"


@pytest.mark.slow
@several
def test_every_row_is_in_a_segment_and_no_segment_is_longer_than_its_bucket_says(found):
    planned = plan_buckets([shape_of(micro_batch) for micro_batch in found])
    for micro_batch in found:
        more = padded(micro_batch, planned)
        segments = more.segments
        assert [row for own, _ in attended(more) for row in own] == list(range(len(more.indices)))
        assert max(len(own) for own, _ in attended(more)) <= segments.longest_query
        assert max(len(keys) for _, keys in attended(more)) <= segments.key_room
        assert segments.longest_key <= max(len(keys) for other in found for _, keys in attended(other))
        assert int(segments.key_ends[-1]) == len(segments.key_rows)
        keys = segments.key_rows.tolist()
        assert uses_of_each_row(segments.inverse_index) == [
            [at for at, row in enumerate(keys) if row == own] for own in range(len(more.indices))
        ]


@settings(deadline=None)
@given(micro_batches(), micro_batches())
def test_a_micro_batch_is_padded_to_a_planned_bucket_or_left_unchanged(micro_batch, other):
    planned = plan_buckets([shape_of(micro_batch)])
    more = padded(other, planned)
    assert more is other or [shape_of(more)] == planned


@pytest.mark.parametrize("size", [field.name for field in fields(ShapeBucket)])
def test_a_bucket_that_is_too_small_in_any_size_is_not_used(size):
    micro_batch = make_micro_batch([encoded([*PREFIXES[0], n], [1, 2]) for n in range(3)], k_tokens=2)
    own, (bucket,) = shape_of(micro_batch), plan_buckets([shape_of(micro_batch)])
    assert padded(micro_batch, [bucket]) is not micro_batch
    assert padded(micro_batch, [replace(bucket, **{size: getattr(own, size) - 1})]) is micro_batch


def test_a_micro_batch_of_one_token():
    (planned,) = plan_buckets([shape_of(make_micro_batch([encoded([7], [1])], k_tokens=1))])
    assert (planned.rows, planned.inherited, planned.longest_query, planned.key_room) == (8, 0, 1, 1)
    assert planned.segments == 8  # one, and seven padding rows, each a segment as long as the longest
    assert padded(make_micro_batch([encoded([8], [2])], k_tokens=1), [planned]).segments.query_ends.tolist() == [
        *range(9)
    ]


def test_the_smallest_bucket_that_fits_is_used():
    found = [make_micro_batch([encoded(range(length), [1, 2])], k_tokens=2) for length in (100, 200, 400)]
    planned = plan_buckets([shape_of(micro_batch) for micro_batch in found])
    # A prompt, the first of two answer tokens and at least one padding row, rounded up to a multiple of 8.
    assert [bucket.rows for bucket in planned] == [104, 208, 408]
    between = make_micro_batch([encoded(range(150), [1, 2])], k_tokens=2)
    assert shape_of(padded(between, planned)) == planned[1]
    larger = make_micro_batch([encoded(range(500), [1, 2])], k_tokens=2)
    assert padded(larger, planned) is larger


def test_there_is_little_padding_and_most_micro_batches_of_later_epochs_fit():
    random = stream(0, "padding")

    def epoch():
        """Steps of 32 questions like SQuAD's: a common prefix, 50 to 450 tokens, an answer."""
        for _ in range(60):
            lengths = [50 + int(random.gammavariate(4, 35)) for _ in range(32)]
            texts = [[random.randrange(5000) for _ in range(length)] for length in lengths]
            yield make_micro_batch([encoded([*range(39), *text], [1, 2, 3, 4]) for text in texts], k_tokens=4)

    found = [shape_of(micro_batch) for micro_batch in epoch()]
    planned = plan_buckets(found)
    later = [(shape_of(micro_batch), shape_of(padded(micro_batch, planned))) for micro_batch in epoch()]
    assert mean(more.rows / own.rows for own, more in later) < 1.05
    assert mean(more in planned for _, more in later) > 0.9
