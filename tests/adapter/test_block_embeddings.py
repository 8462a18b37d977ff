"""Block encoders, by hand-worked cases, and the matrix in which blocks have rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from thinwire.adapter import block_embeddings, input_embeddings
from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.block_projection import fit_projection
from thinwire.adapter.making import encoder_parameters, make_block_encoder
from thinwire.config.block_settings import BlockKind, BlocksConfig
from thinwire.data.blocks import MISSING, Blocks, BlockTable, no_blocks
from thinwire.data.prompts import Encoded
from thinwire.errors import UsageError
from thinwire.model.first_layers import copy_of_first_layers
from tiny_models import example, tiny_lm

MATRIX = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 8.0]])
BLOCKS = Blocks(
    kind=BlockKind(2, reads_context=True),
    members=np.array([[0, 1], [2, MISSING], [1, 1]]),
    contexts=np.array([0, 0, 1]),
    places=np.array([0, 1, 0]),
    num_scored=2,
)
ENCODERS = ("mean", "weighted_mean", "mlp", "pca", "transformer")


def embeddings(encoder, blocks=BLOCKS, code_width=4):
    """By default, codes of as many numbers as two embeddings have."""
    config = BlocksConfig(size=2, encoder=encoder, hidden=4, code_width=code_width)
    projection = fit_projection(MATRIX, BLOCKS.members, np.array([1, 2, 3]), config) if encoder == "pca" else None
    made = make_block_encoder(config, MATRIX, torch.Generator().manual_seed(0), projection)
    return BlockEmbeddings(MATRIX, made, replace(blocks, kind=config.kind))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoders_begin_as_the_mean_and_tokens_keep_their_embeddings(encoder):
    found = embeddings(encoder)(torch.tensor([1, 3, 5]))
    assert torch.equal(found[0], MATRIX[1])
    assert found[1].tolist() == pytest.approx([2.0, 1.0])  # of rows 0 and 1
    assert found[2].tolist() == pytest.approx([3.0, 2.0])  # of row 1 twice


def test_a_block_with_a_token_missing_is_the_mean_of_the_others_or_has_learned_padding():
    assert embeddings("mean")(torch.tensor([4])).tolist() == [[5.0, 8.0]]
    padded = embeddings("weighted_mean")
    assert padded(torch.tensor([4])).tolist() == [[2.5, 4.0]], "padding begins at zero"
    with torch.no_grad():
        padded.encoder.padding.copy_(torch.tensor([1.0, -2.0]))
        padded.encoder.weights.copy_(torch.tensor([[1.0, 0.5], [2.0, 1.0]]))
    assert padded(torch.tensor([4])).tolist() == [[5.0 + 2.0, 4.0 - 2.0]]
    assert embeddings("pca")(torch.tensor([4])).tolist()[0] == pytest.approx([2.5, 4.0], abs=1e-5), "its place is zeros"


def test_what_an_mlp_learns_is_in_the_units_of_the_embeddings():
    config = BlocksConfig(size=2, hidden=4)
    for matrix in (MATRIX, 1e-3 * MATRIX):
        made = make_block_encoder(config, matrix, torch.Generator().manual_seed(0))
        with torch.no_grad():
            made.map.output.bias.fill_(0.5)
        (row,) = BlockEmbeddings(matrix, made, BLOCKS)(torch.tensor([3]))
        assert torch.allclose(row, matrix[:2].mean(0) + 0.5 * matrix.std(0))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_matrix_has_rows_for_tokens_and_scored_blocks(encoder):
    made = embeddings(encoder)
    matrix = made.matrix(torch.float32)
    assert matrix.shape == (3 + 2, 2)
    assert torch.equal(matrix, made(torch.arange(5)))
    none = no_blocks(BLOCKS.kind)
    assert embeddings(encoder, none).matrix(torch.float32).tolist() == MATRIX.tolist()
    assert torch.equal(embeddings(encoder, none).with_blocks(BLOCKS).matrix(torch.float32), matrix)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_parameters_are_counted_and_each_gets_a_gradient(encoder):
    made = embeddings(encoder)
    number = sum(parameter.numel() for parameter in made.parameters())
    # Weighted: 2 x 2 weights and padding of 2. MLP: padding 2, 2 x 4 + 2, 4 x 4 + 4, 2 x 4 + 2. Transformer: padding 2,
    # twice 2 x 4 + 2, a norm of 4 and two layers of attention 4 x (2 x 2 + 2), 4 x 2 + 4, 2 x 4 + 2 and norms of 8.
    # PCA of 4 numbers: the MLP's without padding.
    assert number == {"mean": 0, "weighted_mean": 6, "mlp": 42, "pca": 40, "transformer": 26 + 2 * 54}[encoder]
    assert encoder_parameters(BlocksConfig(size=2, encoder=encoder, hidden=4, code_width=4), 2) == number
    if number:
        made(torch.tensor([0, 3, 4])).square().sum().backward()
        assert all(parameter.grad is not None for parameter in made.parameters())


def reading(encoder, blocks):
    """An encoder that reads contexts, of random weights, over the tiny model's embeddings."""
    lm = tiny_lm()
    decoder = copy_of_first_layers(lm, 1) if encoder == "first_layers" else None
    config = BlocksConfig(size=2, encoder=encoder, hidden=16)
    made = make_block_encoder(config, lm.embedding_matrix, torch.Generator().manual_seed(0), decoder=decoder)
    with torch.no_grad():
        made.output.weight.normal_(generator=torch.Generator().manual_seed(1))
    return BlockEmbeddings(lm.embedding_matrix, made, blocks)


READERS = ("transformer", "first_layers")


@pytest.mark.parametrize("encoder", READERS)
def test_blocks_that_read_contexts_read_their_own_and_no_other(encoder):
    made = reading(encoder, BLOCKS)
    first = len(made.source)  # and the next are in a context, the third in another
    rows = made(torch.arange(first + 3))
    assert torch.allclose(made(torch.tensor([0, first, first + 1])), rows[[0, first, first + 1]], atol=1e-5), "alone"
    assert torch.allclose(made(torch.tensor([first + 2])), rows[first + 2 :], atol=1e-5), "the other alone"
    assert not torch.allclose(made(torch.tensor([first])), rows[first], atol=1e-3), "without the block after it"
    moved = replace(BLOCKS, members=BLOCKS.members[:1], contexts=np.array([0]), places=np.array([5]), num_scored=1)
    # Rotary positions are relative: a context that begins elsewhere is the same one.
    same = torch.allclose(made.with_blocks(moved)(torch.tensor([first])), made(torch.tensor([first])), atol=1e-3)
    assert same == (encoder == "first_layers")


@pytest.mark.parametrize("encoder", READERS)
def test_the_matrix_of_blocks_that_read_contexts_keeps_each_context_whole(encoder, monkeypatch):
    monkeypatch.setattr(block_embeddings, "_TOGETHER", 4)
    monkeypatch.setattr(input_embeddings, "_BLOCK_ROWS", 2)
    table = BlockTable(BlockKind(2, reads_context=True), len(tiny_lm().embedding_matrix))
    for length in (6, 2, 4, 10, 3):
        ids = tuple(length * place % 4 for place in range(length))
        encoded = Encoded(example=example(0), prompt_ids=ids, answer_ids=(), dropped=0, context=range(length))
        table.in_blocks([encoded])
    made = reading(encoder, table.blocks(num_scored=len(table)))
    whole = made(torch.arange(len(made.source) + len(table)))
    assert torch.allclose(made.matrix(torch.float32), whole, atol=1e-5)


def test_contexts_longer_than_the_copied_layers_encode_positions_are_refused():
    most = tiny_lm().most_positions
    table = BlockTable(BlockKind(2, reads_context=True), len(tiny_lm().embedding_matrix))
    encoded = Encoded(example=example(0), prompt_ids=(7,) * most, answer_ids=(), dropped=0, context=range(most))
    table.in_blocks([encoded])
    assert reading("first_layers", table.blocks(len(table))).matrix(torch.float32).shape[0] == 261 + most // 2
    longer = replace(encoded, prompt_ids=(7,) * (most + 1), context=range(most + 1))
    table.in_blocks([longer])
    with pytest.raises(UsageError, match=rf"encode {most} positions, but a context in blocks has up to {most + 2} tok"):
        reading("first_layers", table.blocks(len(table))).matrix(torch.float32)


@pytest.mark.parametrize("encoder", READERS)
def test_tokens_may_be_without_blocks_and_matrices_without_scored_ones(encoder):
    made = reading(encoder, BLOCKS)
    assert torch.equal(made(torch.tensor([2, 3])), made.source[[2, 3]])
    none = made.with_blocks(replace(BLOCKS, num_scored=0))
    assert torch.equal(none.matrix(torch.float32), made.source)
