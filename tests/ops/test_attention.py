"""Attention over packed segments against the model's own on each sequence, and its gradient by finite differences."""

from types import SimpleNamespace

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, MistralConfig, MistralForCausalLM

from thinwire.errors import UsageError
from thinwire.model.language_model import LanguageModel
from thinwire.ops import block_attention
from thinwire.ops.block_attention import attention_by_block, blocks_of, plain_attention
from thinwire.ops.gather import InverseIndex, gathered, inverse_index_of
from thinwire.ops.packing import Segments, pack
from thinwire.ops.segment_attention import patched_attention
from tiny_models import tiny_llama, tiny_lm, tiny_tokenizer, uses_of_each_row

TEMPLATE = list(range(60, 90))
SEQUENCES = [
    [*TEMPLATE, *range(100, 120), 7, 8],
    [*TEMPLATE, *range(130, 150), 9],
    [5, 6, 7],
    [*TEMPLATE, *range(100, 120), 10, 11, 12],
    TEMPLATE,
]
"""Two levels of shared prefixes, a sequence that is a prefix of others, and one that shares nothing."""


def packed_states(lm, embeddings, packed):
    with torch.no_grad():
        return lm.packed_states(embeddings, torch.from_numpy(packed.positions), packed.segments)


def own_states(lm, matrix, sequence):
    """The states that transformers computes for one sequence, alone in its batch."""
    with torch.no_grad():
        return lm.model.get_decoder()(inputs_embeds=matrix[torch.tensor(sequence)][None]).last_hidden_state[0]


@pytest.mark.parametrize("share", [True, False])
def test_packed_states_are_those_of_each_sequence_alone(share):
    lm = tiny_lm(layers=3)
    packed = pack(SEQUENCES, share=share)
    (states,) = packed_states(lm, lm.embedding_matrix[torch.from_numpy(packed.ids)][None], packed)
    for sequence, rows in zip(SEQUENCES, packed.rows, strict=True):
        expected = own_states(lm, lm.embedding_matrix, sequence)
        torch.testing.assert_close(states[torch.from_numpy(rows)], expected, atol=1e-5, rtol=1e-5)


def test_variants_with_their_own_embeddings_do_not_attend_to_each_other():
    lm = tiny_lm()
    generator = torch.Generator().manual_seed(1)
    shape = lm.embedding_matrix.shape
    matrices = [lm.embedding_matrix + 0.3 * torch.randn(shape, generator=generator) for _ in range(3)]
    packed = pack(SEQUENCES)
    ids = torch.from_numpy(packed.ids)
    states = packed_states(lm, torch.stack([matrix[ids] for matrix in matrices]), packed)
    assert states.shape == (3, len(ids), 32)
    for matrix, variant in zip(matrices, states, strict=True):
        for sequence, rows in zip(SEQUENCES, packed.rows, strict=True):
            expected = own_states(lm, matrix, sequence)
            torch.testing.assert_close(variant[torch.from_numpy(rows)], expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_shared_rows_are_the_sums_of_those_of_each_sequence_alone():
    lm = tiny_lm()
    packed = pack(SEQUENCES)
    weights = torch.randn(32, generator=torch.Generator().manual_seed(2))

    together = lm.embedding_matrix.clone().requires_grad_()
    states = lm.packed_states(
        together[torch.from_numpy(packed.ids)][None], torch.from_numpy(packed.positions), packed.segments
    )[0]
    sum((states[int(rows[-1])] * weights).sum() for rows in packed.rows).backward()

    alone = lm.embedding_matrix.clone().requires_grad_()
    for sequence in SEQUENCES:
        out = lm.model.get_decoder()(inputs_embeds=alone[torch.tensor(sequence)][None]).last_hidden_state
        (out[0, -1] * weights).sum().backward()
    assert (together.grad - alone.grad).norm() < 1e-5 * alone.grad.norm()


SEGMENTS = Segments(
    query_ends=torch.tensor([0, 2, 3, 6, 8], dtype=torch.int32),
    key_rows=torch.tensor([0, 1, 0, 1, 2, 0, 1, 3, 4, 5, 6, 7]),
    key_ends=torch.tensor([0, 2, 5, 10, 12], dtype=torch.int32),
    inverse_index=InverseIndex(
        single=torch.tensor([0, 1, 4, 7, 8, 9, 10, 11]),
        shared=torch.tensor([0, 2, 5, 1, 3, 6]),
        shared_ends=torch.tensor([0, 3, 6]),
        slots=torch.tensor([0, 1, -1, -1, -1, -1, -1, -1]),
    ),
    longest_query=3,
    longest_key=5,
    key_room=5,
)
"""Rows 0 and 1 are a shared prefix of row 2 and of rows 3 to 5; rows 6 and 7 share nothing."""


def attention_arguments(dtype=torch.float64):
    """Arguments of ``plain_attention``: four query heads over two key-value heads."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(8, heads, 3, dtype=dtype, generator=generator) for heads in (4, 2, 2))
    return q, k, v, blocks_of(SEGMENTS), 0.7


SEES = {0: [0], 1: [0, 1], 2: [0, 1, 2], 3: [0, 1, 3], 4: [0, 1, 3, 4], 5: [0, 1, 3, 4, 5], 6: [6], 7: [6, 7]}
"""The rows that each row of ``SEGMENTS`` attends to."""


@pytest.fixture(params=[(128, 32), (2, 32), (2, 4), (128, 1)])
def block_size(request, monkeypatch):
    """One block for each segment and several, with and without surplus keys."""
    queries, key_step = request.param
    monkeypatch.setattr(block_attention, "BLOCK_QUERIES", queries)
    monkeypatch.setattr(block_attention, "KEY_STEP", key_step)
    block_attention.causal_mask.cache_clear()
    yield
    block_attention.causal_mask.cache_clear()


@pytest.mark.usefixtures("block_size")
def test_the_output_of_each_row_is_softmax_attention():
    q, k, v, blocks, scale = attention_arguments()
    out = plain_attention(q, k, v, blocks, scale)
    for row, seen in SEES.items():
        for head in range(4):
            scores = scale * k[seen, head // 2] @ q[row, head]  # query heads 0 and 1 share key head 0
            torch.testing.assert_close(out[row, head], scores.softmax(0) @ v[seen, head // 2])


@pytest.mark.usefixtures("block_size")
@pytest.mark.parametrize("kept", [True, False])
def test_the_gradient_agrees_with_finite_differences(monkeypatch, kept):
    monkeypatch.setattr(block_attention, "MOST_KEPT_KEYS", 384 if kept else 0)
    q, k, v, blocks, scale = attention_arguments()
    assert (blocks.num_pairs > 0) == kept
    inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
    # Gradients of keys and values are summed in float32, whose rounding is far below this tolerance.
    assert torch.autograd.gradcheck(lambda *qkv: plain_attention(*qkv, blocks, scale), inputs, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("block_size")
def test_nan_in_one_segment_does_not_reach_the_others():
    """Segments of several arms are packed together, and the training of one arm may fail."""
    q, k, v, blocks, scale = attention_arguments()
    inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
    clean = plain_attention(*inputs, blocks, scale)
    expected = torch.autograd.grad(clean[:6].sum(), inputs)
    with torch.no_grad():
        for tensor in inputs:
            tensor[6:] = torch.nan
    out = plain_attention(*inputs, blocks, scale)
    gradients = torch.autograd.grad(out.sum(), inputs)
    assert out[6:].isnan().all()
    torch.testing.assert_close(out[:6], clean[:6])
    for ours, plain in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours[:6], plain[:6])


def test_attention_weights_are_kept_only_for_a_backward_pass():
    q, k, v, blocks, scale = attention_arguments()
    # Segments of 2, 1, 3 and 2 rows have 2, 3, 5 and 2 keys, which are rounded up to 32; there are four heads.
    assert blocks.num_pairs == (2 + 1 + 3 + 2) * 32
    for needs_gradient, in_graph in ((True, 4 * blocks.num_pairs), (False, None)):
        node = plain_attention(q.requires_grad_(needs_gradient), k, v, blocks, scale).grad_fn
        sizes = []
        while node is not None:
            sizes += [
                len(saved) for saved in getattr(node, "saved_tensors", ()) if saved is not None and saved.dim() == 1
            ]
            node = next((after for after, _ in node.next_functions if after is not None), None)
        assert (in_graph in sizes) if needs_gradient else not sizes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("num_weights", [0, 1024])
def test_torch_can_trace_and_compile_the_operator(dtype, num_weights):
    q, k, v, blocks, _ = attention_arguments(dtype)
    rows = [x.requires_grad_() for x in (q, k[blocks.key_rows], v[blocks.key_rows])]
    torch.library.opcheck(attention_by_block, (*rows, *blocks.places, num_weights))


def test_gradients_of_gathered_keys_are_added_to_their_source_rows():
    source = torch.randn(8, 2, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(12, 2, 3, dtype=torch.float64)
    (plain,) = torch.autograd.grad((source[SEGMENTS.key_rows] * weights).sum(), source)
    rows = gathered(source, SEGMENTS.key_rows, SEGMENTS.inverse_index)
    assert torch.equal(rows, source[SEGMENTS.key_rows])
    (ours,) = torch.autograd.grad((rows * weights).sum(), source)
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-6)  # summed in float32


def test_the_inverse_index_is_made_from_the_order():
    found = inverse_index_of(SEGMENTS.key_rows.numpy())
    expected = SEGMENTS.inverse_index
    assert all(torch.equal(one, other) for one, other in zip(found.tensors, expected.tensors, strict=True))


@pytest.mark.parametrize(("asked", "counted"), [(0, 2), (2, 2), (5, 5), (100, 8)])
def test_unshared_rows_may_count_as_shared(asked, counted):
    inverse_index = inverse_index_of(SEGMENTS.key_rows.numpy(), asked)
    assert inverse_index.num_shared == counted
    assert uses_of_each_row(inverse_index) == uses_of_each_row(SEGMENTS.inverse_index)


def test_a_repeated_inverse_index_names_the_entries_of_each_copy():
    copies, single = torch.arange(3)[:, None], uses_of_each_row(SEGMENTS.inverse_index)
    repeated = SEGMENTS.inverse_index.repeated(copies, 12)
    assert uses_of_each_row(repeated) == [
        [12 * copy + entry for entry in entries] for copy in range(3) for entries in single
    ]


def test_gradients_of_bfloat16_keys_are_summed_before_they_are_rounded():
    packed = pack([[*range(18), 50 + n] for n in range(300)])
    rows = torch.zeros(len(packed.ids), 1, 1, dtype=torch.bfloat16, requires_grad=True)
    segments = packed.segments
    gathered(rows, segments.key_rows, segments.inverse_index).sum().backward()
    # Each shared row is a key of its own segment and of 300 others: a sum of ones in bfloat16 would stop at 256.
    assert rows.grad[:18].unique().tolist() == [float(torch.tensor(301.0).bfloat16())]
    assert rows.grad[18:].unique().tolist() == [1]


def test_the_models_own_attention_is_restored_after_the_block():
    model = tiny_llama()
    before = model.config._attn_implementation
    with patched_attention(model):
        assert model.config._attn_implementation != before
        with patched_attention(model):
            pass
        assert model.config._attn_implementation != before, "an inner block does not undo the outer one"
    assert model.config._attn_implementation == before


def test_the_models_own_attention_is_restored_after_an_error():
    model = tiny_llama()
    before = model.config._attn_implementation
    with pytest.raises(RuntimeError), patched_attention(model):
        raise RuntimeError
    assert model.config._attn_implementation == before


def test_a_model_whose_attention_cannot_be_replaced_is_refused():
    stubborn = SimpleNamespace(
        config=SimpleNamespace(_attn_implementation="eager"), set_attn_implementation=lambda name: None
    )
    with pytest.raises(UsageError, match="does not let its attention be replaced"), patched_attention(stubborn):
        pass


def test_a_window_shorter_than_a_prompt_is_refused_and_a_longer_one_is_not():
    config = MistralConfig(
        vocab_size=261,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=30,
    )
    model = MistralForCausalLM(config).eval()
    lm = LanguageModel(model=model, tokenizer=tiny_tokenizer(), name="tiny", revision="test")
    short, long = pack([list(range(30))]), pack([list(range(31))])
    (states,) = packed_states(lm, lm.embedding_matrix[torch.from_numpy(short.ids)][None], short)
    torch.testing.assert_close(states, own_states(lm, lm.embedding_matrix, range(30)), atol=1e-5, rtol=1e-5)
    with pytest.raises(UsageError, match=r"the last 30 tokens alone, but a prompt has 31; .*prompt\.max_tokens"):
        packed_states(lm, lm.embedding_matrix[torch.from_numpy(long.ids)][None], long)
    assert model.config._attn_implementation != "thinwire_segments"


def test_a_model_that_caps_its_attention_scores_is_refused():
    config = Gemma2Config(
        vocab_size=261,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        attn_logit_softcapping=50.0,
    )
    model = Gemma2ForCausalLM(config).eval()
    lm = LanguageModel(model=model, tokenizer=tiny_tokenizer(), name="tiny", revision="test")
    packed = pack([[5, 6, 7]])
    with pytest.raises(UsageError, match="caps its attention scores"):
        packed_states(lm, lm.embedding_matrix[torch.from_numpy(packed.ids)][None], packed)
