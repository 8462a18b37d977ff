import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles import example, tiny_tokenizer
from thinwire.batching import epoch_batches, group_by_length, make_batch, make_pass, token_counts
from thinwire.config import PromptConfig
from thinwire.prompts import Encoded, PromptEncoder


def question(prompt, answer, number=0):
    return Encoded(example=example(number), prompt_ids=tuple(prompt), answer_ids=tuple(answer), dropped=0)


def test_a_pass_reads_the_prompt_and_all_but_the_last_supervised_token():
    one = make_pass([question([7, 8, 7], [20, 21, 22, 23, 3]), question([9], [30, 3])], k_tokens=3)
    # Row 0: 7 8 7 | 20 21 (22 is predicted, never read). Row 1: 9 | 30, then padding.
    ids = one.tokens[one.indices] * one.attention_mask
    assert ids.tolist() == [[7, 8, 7, 20, 21], [9, 30, 0, 0, 0]]
    assert one.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    # Outputs at 2, 3, 4 predict 20, 21, 22; outputs at 0, 1 of row 1 predict 30 and the end token 3.
    assert one.answer_rows.tolist() == [0, 0, 0, 1, 1]
    assert one.answer_positions.tolist() == [2, 3, 4, 0, 1]
    assert one.answer_ids.tolist() == [20, 21, 22, 30, 3]


def test_only_prompt_tokens_count_for_reconstruction_and_pads_never_do():
    one = make_pass([question([7, 8, 7], [20, 21, 3]), question([9], [7, 3])], k_tokens=3)
    assert dict(zip(one.tokens.tolist(), one.prompt_counts.tolist(), strict=True)) == {7: 2, 8: 1, 9: 1, 20: 0, 21: 0}
    counts = token_counts([question([7, 8, 7], [20]), question([9], [7])], vocabulary=12)
    assert counts.tolist() == [0, 0, 0, 0, 0, 0, 0, 2, 1, 1, 0, 0]


def test_the_supervised_tokens_are_the_answers_first_k_with_the_end_token_counted():
    tokenizer = tiny_tokenizer()
    encoder = PromptEncoder(tokenizer, PromptConfig())
    encoded = encoder.encode(example(answer="18"))
    four = make_pass([encoded], k_tokens=4)
    assert tokenizer.convert_ids_to_tokens(four.answer_ids.tolist()) == ["1", "8", "<|end|>"]
    two = make_pass([encoded], k_tokens=2)
    assert tokenizer.convert_ids_to_tokens(two.answer_ids.tolist()) == ["1", "8"]


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 200))
def test_groups_hold_every_item_once_and_keep_to_the_limit(lengths, limit):
    groups = group_by_length(lengths, limit)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= limit


def test_a_batch_has_the_same_totals_however_it_is_split():
    questions = [question(range(10, 10 + n), [4, 5, 3], n) for n in (3, 9, 5, 7)]
    whole, split = make_batch(questions, 2, 10_000), make_batch(questions, 2, 12)
    assert (len(whole.passes), len(split.passes)) == (1, 4)
    assert (whole.num_tokens, whole.num_prompt_tokens, whole.num_answer_tokens) == (24 + 4, 24, 8)
    assert (split.num_tokens, split.num_prompt_tokens, split.num_answer_tokens) == (28, 24, 8)


def test_an_epoch_visits_every_question_once_in_an_order_of_its_own():
    questions = [question([n], [3], n) for n in range(10)]
    epochs = [[q for batch in epoch_batches(questions, 4, 0, e) for q in batch] for e in (1, 1, 2)]
    assert epochs[0] == epochs[1] != epochs[2]
    assert sorted(q.prompt_ids for q in epochs[0]) == [(n,) for n in range(10)]
    assert [len(batch) for batch in epoch_batches(questions, 4, 0, 1)] == [4, 4, 2]


def test_padding_points_at_a_real_row_so_that_no_index_is_out_of_range():
    one = make_pass([question([200], [3]), question([5, 6, 7], [3])], k_tokens=1)
    assert int(one.indices.max()) < len(one.tokens)
    assert torch.equal(one.tokens[one.indices][one.attention_mask.bool()], torch.tensor([200, 5, 6, 7]))
