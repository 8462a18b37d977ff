"""The projection of an arm's blocks to codes (``blocks.encoder: pca``), fitted once for all arms of the same blocks."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from thinwire.adapter.block_projection import codec_settings, fit_projection
from thinwire.claims import make_file_alone
from thinwire.codecs.pca import PCACodec
from thinwire.config.experiment import ArmConfig
from thinwire.data.blocks import counted_blocks
from thinwire.errors import UsageError
from thinwire.experiment.arm_inputs import PreparedQuestions
from thinwire.hashes import content_hash
from thinwire.model.language_model import LanguageModel
from thinwire.results.arm_record import BlockCodes

logger = logging.getLogger(__name__)


def block_projection(arm: ArmConfig, lm: LanguageModel, prepared: PreparedQuestions, folder: Path) -> PCACodec | None:
    """Return the projection to codes of the blocks of the arm's training prompts, on the CPU: read from its file in the
    folder of the sweep's codecs, or fitted and saved there. None if the arm's blocks have no codes.

    Raises:
        UsageError: codes would have more numbers than the embeddings of a block, or there are no blocks.
    """
    if not arm.has_block_codes:
        return None
    assert prepared.blocks is not None
    matrix = lm.embedding_matrix
    width, config = matrix.shape[1], arm.blocks
    members, counts = counted_blocks(prepared.blocks, prepared.encoded.train, len(matrix))
    if len(members) == 0:
        raise UsageError(
            "no training prompt has blocks of a context to fit blocks.encoder=pca to; choose another encoder"
        )
    key = {
        "matrix": lm.embedding_hash(),
        "blocks": hashlib.sha256(members.tobytes() + counts.tobytes()).hexdigest(),
        "size": config.size,
        "code_width": config.numbers_in_code(width),
    }
    file = folder / f"blocks_pca-{content_hash(key)[:12]}.safetensors"
    if not os.path.lexists(file):
        make_file_alone(
            file, "the projection of blocks", lambda: fit_projection(matrix, members, counts, config).save(file)
        )
    # Encoders of arms that were begun depend on this very file, so a resumed sweep never fits again.
    projection = PCACodec.load(file, codec_settings(config, width), config.size * width)
    logger.info(
        "codes of blocks: %d to %d numbers a block, variance kept %.3f",
        config.size * width,
        projection.code_width,
        projection.variance_kept,
    )
    if projection.spanned < projection.code_width:
        logger.warning(
            "codes of blocks: the %d different blocks of the training prompts span %d dimensions, and a code has %d: "
            "the others are arbitrary; train on more text, or set a smaller blocks.code_width",
            len(members),
            projection.spanned,
            projection.code_width,
        )
    return projection


def block_codes(projection: PCACodec | None) -> BlockCodes | None:
    """Return what a record says of the projection."""
    if projection is None:
        return None
    return BlockCodes(code_width=projection.code_width, variance_kept=projection.variance_kept)
