"""Pretrain the adapter to rebuild embeddings, without the language model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from thinwire.adapter.input_embeddings import AdapterEmbeddings
from thinwire.codecs.row_training import Batches, OnStep, drawn_rows, train_to_rebuild
from thinwire.config.settings import ReconstructionConfig
from thinwire.data.order import epoch_batches
from thinwire.data.prompts import Encoded
from thinwire.determinism import generator


def train_reconstruction(
    inputs: AdapterEmbeddings,
    matrix: Tensor,
    counts: Tensor,
    mean_square: float,
    questions: Sequence[Encoded],
    config: ReconstructionConfig,
    seed: int,
    on_step: OnStep = lambda *_: None,
) -> None:
    """Train ``inputs.adapter`` in place to rebuild the rows of ``matrix`` ``[V, D]``.

    Mode ``rows`` draws rows by ``counts`` (``[V]``), mixed with a uniform share; ``sequence`` takes the prompts of
    ``questions`` in shuffled order, as in the plan. Both use the loss that arms use.

    Args:
        mean_square: of the matrix (``reconstruction_loss.matrix_mean_square``), the unit of the squared error.
    """
    draw = generator(matrix.device, seed, "reconstruction rows")
    by_rows = config.mode == "rows"
    batches = (
        drawn_rows(counts, config, matrix.device, draw)
        if by_rows
        else _prompt_batches(questions, config, matrix.device, seed)
    )
    train_to_rebuild(inputs, matrix, mean_square, batches, config, same_shapes=by_rows, on_step=on_step)


def _prompt_batches(
    questions: Sequence[Encoded], config: ReconstructionConfig, device: torch.device, seed: int
) -> Batches:
    epoch = 0
    ids: list[int] = []
    while True:
        for (question,) in epoch_batches(questions, 1, seed, epoch):
            ids.extend(question.prompt_ids)
            if len(ids) >= config.batch_rows:
                tokens, weights = torch.tensor(ids, device=device).unique(return_counts=True)
                yield tokens, weights.float()
                ids = []
        epoch += 1
