"""Let a finished arm read prompts that it was not made for."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.data.blocks import in_blocks
from thinwire.data.prompts import Encoded


def as_read(inputs: InputEmbeddings, questions: Sequence[Encoded]) -> tuple[list[Encoded], InputEmbeddings]:
    """Return ``questions`` in the form that an arm reads, and the input embeddings that have a row for each of their
    ids: of an arm that reads blocks, the contexts in blocks, with the embeddings of these."""
    if not isinstance(inputs, BlockEmbeddings):
        return list(questions), inputs
    (found,), _, blocks = in_blocks([questions], [], inputs.kind, len(inputs.source))
    return found, inputs.with_blocks(blocks)
