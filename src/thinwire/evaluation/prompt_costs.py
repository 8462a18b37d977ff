"""What it costs to read a prompt: FLOPs, and bytes of keys and values. Pure arithmetic on sizes that records keep.

A FLOP is a multiplication or an addition: a weight costs two for each position that it is multiplied with (Kaplan et
al. 2020, arXiv:2001.08361, table 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from thinwire.config.block_settings import BlocksConfig
from thinwire.data.prompts import Encoded
from thinwire.results.arm_record import ModelShape, PromptSizes


def prompt_sizes(
    questions: Sequence[Encoded], blocks: BlocksConfig | None, width: int, shape: ModelShape
) -> PromptSizes:
    """Return the mean sizes of the prompts of ``questions``, at least one.

    Args:
        blocks: how their contexts are put into blocks; None if all positions are tokens.
        width: numbers in an embedding.
        shape: of the model that reads them.
    """
    lengths = [len(question.prompt_ids) for question in questions]
    return PromptSizes(
        tokens=fmean(question.num_tokens for question in questions),
        positions=fmean(lengths),
        squared_positions=fmean(length**2 for length in lengths),
        encoder_flops=fmean(encoder_flops(blocks, width, len(q.context), shape) for q in questions) if blocks else 0.0,
    )


def prefill_flops(shape: ModelShape, positions: float, squared_positions: float) -> float:
    """Return the FLOPs that the layers take for a prompt, or for the mean of several.

    Each of ``P`` positions is multiplied with the weights of all layers. In attention, a position has a score and a
    weighted value of each earlier position and of itself, ``P (P + 1) / 2`` pairs in all; a pair takes ``2 d`` FLOPs
    for either in each query head of width ``d``. The output head is not counted: it is applied to one position.

    Args:
        positions: of the prompt, or their mean.
        squared_positions: their square, or the mean of their squares.
    """
    pairs = (squared_positions + positions) / 2
    attention = 4 * shape.num_layers * shape.num_heads * shape.head_width * pairs
    return 2 * shape.layer_weights * positions + attention


def cache_bytes(shape: ModelShape, positions: float) -> float:
    """Return the bytes of a prompt's keys and values in all layers."""
    numbers = 2 * shape.num_layers * shape.num_key_heads * shape.head_width
    return numbers * shape.bytes_per_number * positions


def encoder_flops(blocks: BlocksConfig, width: int, number: int, shape: ModelShape) -> float:
    """Return the FLOPs of encoding a context of ``number`` blocks of embeddings of ``width`` numbers, biases, norms and
    activations left out.

    A matrix takes two for each weight and each block, or in encoders that read contexts each token; there, each of the
    context's tokens also has a score and a weighted value of each other. A ``mean`` has additions alone.
    """
    inputs = blocks.size * width
    match blocks.encoder:
        case "mean":
            return number * inputs
        case "weighted_mean":
            return 2 * number * inputs
        case "mlp":
            return 2 * number * (inputs * width + inputs * blocks.hidden + blocks.hidden * width)
        case "pca":
            code = blocks.numbers_in_code(width)
            return 2 * number * (inputs * code + code * width + code * blocks.hidden + blocks.hidden * width)
        case "transformer":
            tokens = number * blocks.size
            layer = 2 * tokens * (4 * width * width + 2 * width * blocks.hidden) + 4 * width * tokens * tokens
            return blocks.layers * layer + 4 * number * inputs * width
        case "first_layers":
            tokens = number * blocks.size
            own = 2 * tokens * shape.layer_weights / shape.num_layers
            own += 4 * shape.num_heads * shape.head_width * tokens * tokens
            return blocks.layers * own + 4 * number * inputs * width
