"""Block encoders, by hand-worked cases, and the matrix in which blocks have rows."""

import numpy as np
import pytest
import torch

from thinwire.adapter.block_embeddings import BlockEmbeddings, encoder_parameters, make_block_encoder
from thinwire.config.block_settings import BlocksConfig
from thinwire.data.blocks import MISSING, Blocks, no_blocks

MATRIX = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 8.0]])
BLOCKS = Blocks(members=np.array([[0, 1], [2, MISSING], [1, 1]]), num_scored=2)
ENCODERS = ("mean", "weighted_mean", "mlp")


def embeddings(encoder, blocks=BLOCKS):
    config = BlocksConfig(size=2, encoder=encoder, hidden=4)
    return BlockEmbeddings(MATRIX, make_block_encoder(config, MATRIX, torch.Generator().manual_seed(0)), blocks)


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


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_matrix_has_rows_for_tokens_and_scored_blocks(encoder):
    made = embeddings(encoder)
    matrix = made.matrix(torch.float32)
    assert matrix.shape == (3 + 2, 2)
    assert torch.equal(matrix, made(torch.arange(5)))
    assert embeddings(encoder, no_blocks(2)).matrix(torch.float32).tolist() == MATRIX.tolist()
    assert torch.equal(embeddings(encoder, no_blocks(2)).with_blocks(BLOCKS).matrix(torch.float32), matrix)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_parameters_are_counted_and_each_gets_a_gradient(encoder):
    made = embeddings(encoder)
    number = sum(parameter.numel() for parameter in made.parameters())
    # Weighted: 2 x 2 weights and padding of 2. MLP: padding 2, 2 x 4 + 2, 4 x 4 + 4, 2 x 4 + 2.
    assert number == {"mean": 0, "weighted_mean": 6, "mlp": 42}[encoder]
    assert encoder_parameters(BlocksConfig(size=2, encoder=encoder, hidden=4), 2) == number
    if number:
        made(torch.tensor([0, 3, 4])).square().sum().backward()
        assert all(parameter.grad is not None for parameter in made.parameters())
