"""Packing of questions into micro-batches, batches of a step, and the order of an epoch."""

from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.codecs.token_weights import token_counts
from thinwire.config.settings import PromptConfig
from thinwire.data.order import epoch_batches, epoch_order
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.training.microbatches import fill_micro_batches, make_batch, make_micro_batch
from tiny_models import example, tiny_tokenizer


def question(prompt, answer, number=0):
    return Encoded(example=example(number), prompt_ids=tuple(prompt), answer_ids=tuple(answer), dropped=0)


def test_a_micro_batch_has_the_prompt_and_all_but_the_last_supervised_token():
    questions = [question([7, 8, 7], [20, 21, 22, 23, 3]), question([9], [30, 3])]
    micro_batch = make_micro_batch(questions, k_tokens=3)
    # First 7 8 7 | 20 21 (22 is predicted, but no input), then 9 | 30.
    assert micro_batch.tokens[micro_batch.indices].tolist() == [7, 8, 7, 20, 21, 9, 30]
    assert micro_batch.positions.tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert micro_batch.segments.query_ends.tolist() == [0, 5, 7]
    assert make_batch(questions, 3, 10_000).num_tokens(3) == 7
    # Outputs at rows 2, 3, 4 predict 20, 21, 22; those at 5, 6 predict 30 and the end token 3.
    assert micro_batch.answer_rows.tolist() == [2, 3, 4, 5, 6]
    assert micro_batch.answer_ids.tolist() == [20, 21, 22, 30, 3]


def test_answers_stay_with_their_questions_whatever_the_order_of_the_rows():
    micro_batch = make_micro_batch([question([9], [30, 3]), question([7, 8, 7], [20, 21, 22])], k_tokens=3)
    # Sorted by their tokens, so the second question comes first.
    assert micro_batch.tokens[micro_batch.indices].tolist() == [7, 8, 7, 20, 21, 9, 30]
    assert micro_batch.answer_rows.tolist() == [5, 6, 2, 3, 4]
    assert micro_batch.answer_ids.tolist() == [30, 3, 20, 21, 22]


def test_only_prompt_tokens_count_for_reconstruction_and_answers_never_do():
    micro_batch = make_micro_batch([question([7, 8, 7], [20, 21, 3]), question([9], [7, 3])], k_tokens=3)
    assert dict(zip(micro_batch.tokens.tolist(), micro_batch.prompt_counts.tolist(), strict=True)) == {
        7: 2,
        8: 1,
        9: 1,
        20: 0,
        21: 0,
    }
    counts = token_counts([[7, 8, 7], [9]], vocabulary=12)
    assert counts.tolist() == [0, 0, 0, 0, 0, 0, 0, 2, 1, 1, 0, 0]


def test_a_shared_prefix_is_computed_once_and_counted_for_every_question():
    prefix = [50] * 18
    questions = [question([*prefix, 1], [20, 3]), question([*prefix, 2], [20, 3])]
    micro_batch = make_micro_batch(questions, k_tokens=2)
    # 18 rows for both, then 1 | 20 and 2 | 20.
    assert micro_batch.tokens[micro_batch.indices].tolist() == [*prefix, 1, 20, 2, 20]
    assert micro_batch.positions.tolist() == [*range(18), 18, 19, 18, 19]
    assert micro_batch.answer_rows.tolist() == [18, 19, 20, 21]
    assert dict(zip(micro_batch.tokens.tolist(), micro_batch.prompt_counts.tolist(), strict=True)) == {
        1: 1,
        2: 1,
        20: 0,
        50: 36,
    }
    assert make_batch(questions, 2, 10_000).num_tokens(2) == 40
    whole = make_micro_batch(questions, k_tokens=2, share=False)
    assert whole.tokens[whole.indices].tolist() == [*prefix, 1, 20, *prefix, 2, 20]
    assert whole.answer_rows.tolist() == [18, 19, 38, 39]
    assert make_batch(questions, 2, 10_000, share=False).num_tokens(2) == 40
    assert whole.prompt_counts.tolist() == micro_batch.prompt_counts.tolist()


def test_the_supervised_tokens_are_the_answers_first_k_with_the_end_token_counted():
    tokenizer = tiny_tokenizer()
    encoder = PromptEncoder(tokenizer, PromptConfig(answer_form="bare"))
    encoded = encoder.encode(example(answer="18"))
    four = make_micro_batch([encoded], k_tokens=4)
    assert tokenizer.convert_ids_to_tokens(four.answer_ids.tolist()) == ["1", "8", "<|end|>"]
    two = make_micro_batch([encoded], k_tokens=2)
    assert tokenizer.convert_ids_to_tokens(two.answer_ids.tolist()) == ["1", "8"]


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 200))
def test_runs_hold_every_item_once_in_order_and_keep_to_the_limit(lengths, limit):
    runs = fill_micro_batches(lengths, limit)
    assert [i for run in runs for i in run] == list(range(len(lengths)))
    assert all(runs)
    for run in runs:
        assert len(run) == 1 or sum(lengths[i] for i in run) <= limit


def test_runs_are_about_equally_full():
    # Ten items of 5 do not fit 40: two halves of 25, not 40 and 10.
    assert [len(run) for run in fill_micro_batches([5] * 10, 40)] == [5, 5]
    assert [len(run) for run in fill_micro_batches([5] * 10, 50)] == [10]


def test_a_batch_has_the_same_totals_however_it_is_split():
    questions = [question(range(10, 10 + n), [4, 5, 3], n) for n in (3, 9, 5, 7)]
    whole, split = make_batch(questions, 2, 10_000), make_batch(questions, 2, 12)
    # With two answer tokens each: 5, 7, 9, 11. The first two fit a micro-batch of 12.
    assert [len(part.answer_ids) for part in whole.micro_batches] == [8]
    assert [len(part.answer_ids) for part in split.micro_batches] == [4, 2, 2]
    for batch in (whole, split):
        assert (batch.num_tokens(2), batch.num_prompt_tokens, batch.num_supervised(2)) == (24 + 4, 24, 8)
        assert sum(len(part.answer_ids) for part in batch.micro_batches) == 8
        assert sum(float(part.prompt_counts.sum()) for part in batch.micro_batches) == 24


def test_a_batch_counts_the_supervised_tokens_at_each_place_of_an_answer():
    batch = make_batch([question([9], [3]), question([7, 8], [4, 5, 3]), question([6], [4, 5, 6, 7, 3])], 4, 10_000)
    assert batch.answer_counts == (3, 2, 2, 1)
    assert [batch.num_supervised(k) for k in (1, 2, 3, 4, 9)] == [3, 5, 7, 8, 8]
    # Four prompt tokens; the last supervised token of each question is predicted, but no input.
    assert [batch.num_tokens(k) for k in (1, 2, 3, 4)] == [4, 6, 8, 9]
    (micro_batch,) = batch.micro_batches
    assert micro_batch.answer_ids.tolist() == [4, 5, 6, 7, 4, 5, 3, 3]  # in the order of their prompts
    assert micro_batch.answer_places.tolist() == [0, 1, 2, 3, 0, 1, 2, 0]


def test_questions_with_a_common_prefix_go_into_one_micro_batch():
    first, second = [50] * 20, [60] * 20
    questions = [question([*prefix, n], [3]) for n in (1, 2) for prefix in (first, second)]
    batch = make_batch(questions, 1, 44)  # two questions of 22
    assert [len(part.indices) for part in batch.micro_batches] == [22, 22], "20 shared rows and 2 others in each"


def test_an_epoch_visits_every_question_once_in_its_own_order():
    questions = [question([n], [3], n) for n in range(10)]
    epochs = [[q for batch in epoch_batches(questions, 4, 0, e) for q in batch] for e in (1, 1, 2)]
    assert epochs[0] == epochs[1] != epochs[2]
    assert sorted(q.prompt_ids for q in epochs[0]) == [(n,) for n in range(10)]
    assert [len(batch) for batch in epoch_batches(questions, 4, 0, 1)] == [4, 4, 2]


def test_grouped_epochs_visit_paragraphs_in_random_order_each_with_all_its_questions():
    questions = [question([n], [3], n % 4) for n in range(12)]  # paragraphs p0 to p3, three questions each
    orders = [epoch_order(questions, 0, epoch, grouped=True) for epoch in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    for order in orders:
        assert sorted(order) == list(range(12))
        paragraphs = [questions[i].example.paragraph_id for i in order]
        assert [paragraphs[i] for i in (0, 3, 6, 9)] == list(dict.fromkeys(paragraphs))


def test_a_grouped_step_computes_a_paragraph_once():
    # Forty shared tokens, then three different ones in each question: 40 + 4 x 3 rows instead of 4 x 43.
    same = [question([*range(10, 50), 60 + n, 70 + n, 80 + n], [3], 0) for n in range(4)]
    batch = make_batch(same, 1, 1_000)
    (micro_batch,) = batch.micro_batches
    assert len(micro_batch.indices) == 52
    assert batch.num_tokens(1) == 172
