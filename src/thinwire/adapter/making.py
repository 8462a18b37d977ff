"""Make the input embeddings that an arm's settings ask for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thinwire.adapter.adapter import Adapter
from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.block_encoders import BlockEncoder, BlockMLP, BlockPCA, WeightedMean
from thinwire.adapter.block_projection import blank_projection
from thinwire.adapter.context_encoders import ContextEncoder, FirstLayers, Transformer
from thinwire.adapter.input_embeddings import AdapterEmbeddings, CodecEmbeddings, InputEmbeddings
from thinwire.codecs.base import Codec
from thinwire.codecs.pca import PCACodec
from thinwire.config.block_settings import BlocksConfig
from thinwire.config.experiment import ArmConfig
from thinwire.data.blocks import Blocks, no_blocks
from thinwire.determinism import generator


def make_input_embeddings(
    config: ArmConfig,
    matrix: Tensor,
    codec: Codec | None = None,
    codes: Tensor | None = None,
    blocks: Blocks | None = None,
    projection: PCACodec | None = None,
    decoder: nn.Module | None = None,
) -> InputEmbeddings:
    """Make the input embeddings of an arm; an adapter or block encoder has its initial values.

    Args:
        matrix: the model's embedding matrix, ``[V, D]``.
        codec: on the device of ``matrix``; only needed if the input comes from codes.
        codes: ``codec.encode(matrix)``, ``[V, K]``, if already computed.
        blocks: those of the arm's prompts if its input is blocks; by default none yet.
        projection: of blocks to codes, for their encoder ``pca``; by default to be loaded (``make_block_encoder``).
        decoder: for their encoder ``first_layers``, a copy of the model's (``copy_of_first_layers``).
    """
    if config.input == "blocks":
        draw = generator("cpu", config.seed, "block encoder")
        encoder = make_block_encoder(config.blocks, matrix, draw, projection, decoder)
        return BlockEmbeddings(matrix, encoder, blocks or no_blocks(config.blocks.kind))
    if config.input == "text":
        return InputEmbeddings(matrix)
    assert codec is not None, f"input={config.input} needs a codec"
    codes = codec.encode(matrix) if codes is None else codes
    if config.input == "codec":
        return CodecEmbeddings(codes, codec)
    adapter = Adapter(codec, config.adapter, generator("cpu", config.seed, "adapter"))
    return AdapterEmbeddings(codes, codec, adapter.to(matrix.device))


def make_block_encoder(
    config: BlocksConfig,
    matrix: Tensor,
    generator: torch.Generator,
    projection: PCACodec | None = None,
    decoder: nn.Module | None = None,
) -> BlockEncoder:
    """Make a block encoder with its initial values, on the device of ``matrix`` ``[V, D]``.

    Args:
        projection: to codes, on the CPU, for ``pca``; by default one of zeros, in whose place a saved one is loaded.
        decoder: for ``first_layers``, a copy of theirs, which becomes part of the encoder.

    Raises:
        UsageError: codes would have more numbers than the embeddings of a block.
    """
    match config.encoder:
        case "mean":
            return BlockEncoder()
        case "weighted_mean":
            return WeightedMean(config.size, matrix.shape[1]).to(matrix.device)
        case "mlp":
            return BlockMLP(matrix, config, generator).to(matrix.device)
        case "pca":
            projection = projection or blank_projection(config, matrix.shape[1])
            return BlockPCA(matrix, projection, config, generator).to(matrix.device)
        case "transformer":
            reader: nn.Module = Transformer(matrix, config, generator)
        case "first_layers":
            assert decoder is not None, "the encoder first_layers needs a copy of them"
            reader = FirstLayers(decoder)
    return ContextEncoder(reader, config.size, matrix).to(matrix.device)


def encoder_parameters(config: BlocksConfig, width: int, decoder: int = 0) -> int:
    """Return the number of trained parameters of an encoder of embeddings of this width.

    Args:
        decoder: parameters of the decoder's copy (``first_layers``).
    """
    match config.encoder:
        case "mean":
            return 0
        case "weighted_mean":
            return width * (config.size + 1)
        case "mlp":
            inputs = config.size * width
            return width + width * (inputs + 1) + config.hidden * (inputs + 1) + width * (config.hidden + 1)
        case "pca":
            inputs = config.numbers_in_code(width)
            return width * (inputs + 1) + config.hidden * (inputs + 1) + width * (config.hidden + 1)
        case "transformer":
            layer = 4 * width * (width + 1) + config.hidden * (width + 1) + width * (config.hidden + 1) + 4 * width
            return width + 2 * width * (config.size * width + 1) + config.layers * layer + 2 * width
        case "first_layers":
            return width + 2 * width * (config.size * width + 1) + decoder
