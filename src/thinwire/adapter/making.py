"""Make the input embeddings that an arm's settings ask for."""

from __future__ import annotations

from torch import Tensor

from thinwire.adapter.adapter import Adapter
from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.block_encoders import make_block_encoder
from thinwire.adapter.input_embeddings import AdapterEmbeddings, CodecEmbeddings, InputEmbeddings
from thinwire.codecs.base import Codec
from thinwire.codecs.pca import PCACodec
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
) -> InputEmbeddings:
    """Make the input embeddings of an arm; an adapter or block encoder has its initial values.

    Args:
        matrix: the model's embedding matrix, ``[V, D]``.
        codec: on the device of ``matrix``; only needed if the input comes from codes.
        codes: ``codec.encode(matrix)``, ``[V, K]``, if already computed.
        blocks: those of the arm's prompts if its input is blocks; by default none yet.
        projection: of blocks to codes, for their encoder ``pca``; by default to be loaded (``make_block_encoder``).
    """
    if config.input == "blocks":
        draw = generator("cpu", config.seed, "block encoder")
        encoder = make_block_encoder(config.blocks, matrix, draw, projection)
        return BlockEmbeddings(matrix, encoder, blocks or no_blocks(config.blocks.kind))
    if config.input == "text":
        return InputEmbeddings(matrix)
    assert codec is not None, f"input={config.input} needs a codec"
    codes = codec.encode(matrix) if codes is None else codes
    if config.input == "codec":
        return CodecEmbeddings(codes, codec)
    adapter = Adapter(codec, config.adapter, generator("cpu", config.seed, "adapter"))
    return AdapterEmbeddings(codes, codec, adapter.to(matrix.device))
