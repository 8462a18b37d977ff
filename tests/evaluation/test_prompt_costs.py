"""The costs of a prompt against what torch counts, and against counting pairs of positions one by one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from thinwire.adapter.making import make_block_encoder
from thinwire.config.block_settings import BlockKind, BlocksConfig
from thinwire.config.settings import PromptConfig
from thinwire.data.blocks import in_blocks
from thinwire.data.prompts import PromptEncoder
from thinwire.evaluation.prompt_costs import cache_bytes, encoder_flops, prefill_flops, prompt_sizes
from thinwire.model.first_layers import copy_of_first_layers
from thinwire.model.lora import attached
from thinwire.ops.context_attention import contexts_of
from thinwire.results.arm_record import ModelShape
from tiny_models import example, tiny_lm, tiny_tokenizer
from tiny_training import arm_config

SHAPE = ModelShape(layer_weights=1000, num_layers=2, num_heads=6, num_key_heads=3, head_width=4, bytes_per_number=2)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_attention_is_counted_pair_by_pair(lengths):
    pairs = sum(1 for length in lengths for query in range(length) for _key in range(query + 1))
    mean, squared = (sum(length**power for length in lengths) / len(lengths) for power in (1, 2))
    # A score and a weighted value: 2 x 2 x 4 FLOPs in each of 6 heads of 2 layers.
    expected = 2 * 1000 * sum(lengths) + pairs * 16 * 6 * 2
    assert prefill_flops(SHAPE, mean, squared) == pytest.approx(expected / len(lengths))


def test_keys_and_values_are_those_of_the_key_heads():
    assert cache_bytes(SHAPE, 10) == 2 * 2 * 3 * 4 * 2 * 10


def test_what_torch_counts_is_the_layers_multiplications():
    lm = tiny_lm()
    shape, num = lm.shape(), 7
    assert (shape.num_layers, shape.bytes_per_number) == (2, 4)
    assert shape.num_heads * shape.head_width == lm.embedding_matrix.shape[1]
    lm.model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        lm.model.get_decoder()(inputs_embeds=torch.zeros(1, num, lm.embedding_matrix.shape[1]), use_cache=False)
    # Eager attention computes all pairs, also those of later positions.
    attention = 4 * shape.num_layers * shape.num_heads * shape.head_width * num**2
    rotary = counter.get_total_flops() - 2 * shape.layer_weights * num - attention
    assert 0 <= rotary <= 2 * num * shape.head_width  # the angles are a product too, once for all layers
    assert prefill_flops(shape, num, num**2) < counter.get_total_flops()


def test_the_weights_of_attached_lora_are_not_counted():
    lm = tiny_lm()
    before = lm.shape()
    with attached(lm.model, [arm_config().lora], [0]):
        assert lm.shape() == before


@pytest.mark.parametrize("encoder", ["mlp", "pca", "transformer", "first_layers"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_what_torch_counts_is_the_encoders_multiplications(size, encoder):
    blocks, lm = BlocksConfig(size=size, encoder=encoder, hidden=24), tiny_lm()
    width = lm.embedding_matrix.shape[1]
    decoder = copy_of_first_layers(lm, 2) if encoder == "first_layers" else None
    made = make_block_encoder(blocks, torch.randn(10, width), torch.Generator(), decoder=decoder)
    contexts = contexts_of(torch.zeros(3, dtype=torch.int64), torch.arange(3), size, 3)
    # The kernel by formulas that the counter knows.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        made(torch.zeros(3, size, width), torch.ones(3, size, dtype=torch.bool), contexts)
    assert counter.get_total_flops() == encoder_flops(blocks, width, 3, lm.shape())


def test_encoders_without_matrices_cost_a_little_for_each_number():
    assert encoder_flops(BlocksConfig(size=4, encoder="mean"), 10, 1, SHAPE) == 40
    assert encoder_flops(BlocksConfig(size=4, encoder="weighted_mean"), 10, 1, SHAPE) == 80


def test_sizes_are_means_over_the_prompts_and_only_blocks_are_encoded():
    encoder = PromptEncoder(tiny_tokenizer(), PromptConfig())
    questions = [encoder.encode(example(n, context=text)) for n, text in enumerate(["Rain fell.", "Ada " * 9])]
    text = prompt_sizes(questions, None, 10, SHAPE)
    lengths = [len(question.prompt_ids) for question in questions]
    assert lengths[0] != lengths[1]
    assert (text.tokens, text.positions, text.encoder_flops) == (sum(lengths) / 2, sum(lengths) / 2, 0)
    assert text.squared_positions == (lengths[0] ** 2 + lengths[1] ** 2) / 2
    (found,), _, _ = in_blocks([questions], [], BlockKind(2, reads_context=False), 1000)
    mean = prompt_sizes(found, BlocksConfig(size=2, encoder="mean"), 10, SHAPE)
    num_blocks = sum(-(-len(question.context) // 2) for question in questions)
    assert mean.encoder_flops == 20 * num_blocks / 2
    assert (mean.tokens, mean.positions < text.positions) == (text.tokens, True)
