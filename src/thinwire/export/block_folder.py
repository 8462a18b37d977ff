"""Write the encoder of an arm that reads blocks beside its exported model, with the file that puts it in front.

The encoder's files lie in a folder of their own: servers such as vLLM take every ``*.safetensors`` beside
``config.json`` for weights of the model.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.block_encoders import BlockEncoder, BlockMLP, BlockPCA, WeightedMean
from thinwire.checkpoints.load import FinishedArm
from thinwire.data.blocks import MISSING, blocks_apart
from thinwire.data.text_tokens import added_around
from thinwire.errors import ThinwireError, UsageError
from thinwire.export.block_reader import ENCODERS, SETTINGS_FILE, VERSION, WEIGHTS_FILE, BlockReader
from thinwire.export.prepared import PreparedArm
from thinwire.files import make_folder, write_json, write_text
from thinwire.results.tensor_file import write_tensors

READER_FILE = "block_reader.py"

_NAMES = {BlockEncoder: "mean", WeightedMean: "weighted_mean", BlockMLP: "mlp", BlockPCA: "pca"}
"""The encoders that ``block_reader.py`` has, by their own class: a subclass may compute something else."""

_CHECKED_BLOCKS = 64


def check_can_hold_blocks(arm: FinishedArm, form: str) -> None:
    """Refuse an arm that reads blocks if the export in this form could not read them.

    Raises:
        UsageError: the form is GGUF, or no exported code computes the arm's encoder.
    """
    if arm.config.input != "blocks":
        return
    if form == "gguf":
        raise UsageError(
            f"{arm.folder} reads blocks of tokens, and no GGUF file can hold their encoder, as llama.cpp makes every "
            "embedding from one token id; take --format transformers, or --format peft if the arm has LoRA"
        )
    if arm.config.blocks.encoder not in ENCODERS:
        raise _unknown(arm)


def _unknown(arm: FinishedArm) -> UsageError:
    return UsageError(
        f"{arm.folder} has the block encoder {arm.config.blocks.encoder}, which {READER_FILE} of an export does not "
        f"compute; it has {', '.join(ENCODERS)}. Use the arm as thinwire.api.CompressedLM, whose embed_questions gives "
        "the embeddings for other programs"
    )


def write_block_encoder(prepared: PreparedArm, folder: Path) -> None:
    """Write the arm's block encoder and its reader into ``folder``, before LoRA is merged into the model.

    Raises:
        UsageError: the reader does not have the arm's encoder.
        ThinwireError: it computes other embeddings than the arm does.
    """
    arm, inputs = prepared.arm, prepared.parts.inputs
    assert isinstance(inputs, BlockEmbeddings)
    name = _NAMES.get(type(inputs.encoder))
    if name is None or name != arm.config.blocks.encoder:
        raise _unknown(arm)
    settings = {"version": VERSION, "encoder": name, "size": inputs.kind.size, "first_ids": _first_ids(prepared)}
    make_folder((folder / SETTINGS_FILE).parent)
    write_json(folder / SETTINGS_FILE, settings)
    # Buffers too: the scale of an MLP's inputs was computed from the embedding matrix.
    tensors = dict(inputs.encoder.named_parameters()) | dict(inputs.encoder.named_buffers())
    write_tensors(folder / WEIGHTS_FILE, tensors, {"format": "pt"})
    write_text(folder / READER_FILE, (files("thinwire.export") / READER_FILE).read_text(encoding="utf-8"))
    _check_reads_alike(prepared, inputs, folder)


def _first_ids(prepared: PreparedArm) -> list[int]:
    """Return the tokens before a prompt's text. A chat template writes its own."""
    return [] if prepared.encoder.style == "chat" else added_around(prepared.lm.tokenizer)[0]


def _check_reads_alike(prepared: PreparedArm, inputs: BlockEmbeddings, folder: Path) -> None:
    """Compare the reader's embeddings of some blocks, half of them not full, with the arm's."""
    vocabulary, size = len(prepared.matrix), inputs.kind.size
    members = np.linspace(0, vocabulary - 1, _CHECKED_BLOCKS * size).astype(np.int64).reshape(size, -1).T.copy()
    for number, block in enumerate(members[::2]):
        block[1 + number % size :] = MISSING
    own = inputs.with_blocks(blocks_apart(members))
    expected = own.rows(torch.arange(len(members), device=prepared.matrix.device) + vocabulary, torch.float32)
    reader = BlockReader(folder, prepared.lm.model.get_input_embeddings())
    found = reader.encode(torch.from_numpy(members).to(expected.device))
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * _scale(expected)):
        raise ThinwireError(
            f"{READER_FILE} does not compute the embeddings of {prepared.arm.folder}, whose block encoder is "
            f"{prepared.arm.config.blocks.encoder}, so it cannot be exported; this is a fault of Thinwire"
        )


def _scale(rows: torch.Tensor) -> float:
    return float(rows.square().mean().sqrt())
