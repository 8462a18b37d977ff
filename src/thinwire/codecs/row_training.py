"""Train a module to rebuild rows of the embedding matrix, without the language model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from thinwire.codecs.reconstruction_loss import reconstruction_terms
from thinwire.codecs.settings import RowTrainingConfig
from thinwire.codecs.token_weights import row_probabilities, row_weights
from thinwire.errors import check_finite
from thinwire.ops.cuda_graphs import GraphPool
from thinwire.ops.device import fast_dtype

_WARMUP_STEPS = 50

Batches = Iterator[tuple[Tensor, Tensor]]
"""Batches of token ids ``[N]`` and the weight of each of them ``[N]``."""

OnStep = Callable[[int, int, float], None]
"""Callback with the steps done, the total steps and the batch's mean cosine."""


def train_to_rebuild(
    rebuild: nn.Module,
    matrix: Tensor,
    mean_square: float,
    batches: Batches,
    config: RowTrainingConfig,
    *,
    name: str = "reconstruction",
    same_shapes: bool = False,
    on_step: OnStep = lambda *_: None,
) -> None:
    """Train ``rebuild``, which maps token ids ``[N]`` to embeddings ``[N, D]``, towards the rows of ``matrix`` ``[V,
    D]``.

    Args:
        mean_square: of the matrix (``reconstruction_loss.matrix_mean_square``), the unit of the squared error.
        name: what is trained, for the error message if it diverges.
        same_shapes: whether every batch has as many tokens on a CUDA device; a step is then captured as a CUDA graph.
    """
    assert config.steps != "auto", "config.auto puts the number in"
    total = config.steps
    uses_graph = same_shapes and matrix.device.type == "cuda"
    optimizer = torch.optim.AdamW(
        rebuild.parameters(),
        lr=torch.tensor(config.learning_rate, device=matrix.device) if uses_graph else config.learning_rate,
        weight_decay=0.0,
        fused=True,
        capturable=uses_graph,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, total))
    batch: list[Tensor] = []
    loss_and_cosine = torch.zeros(2, device=matrix.device)

    def optimizer_step() -> None:
        tokens, weights = batch
        cosines, errors = reconstruction_terms(rebuild(tokens), matrix[tokens], weights, mean_square)
        seen = weights.sum()
        loss = config.cosine_weight * (1 - cosines / seen) + config.mse_weight * errors / seen
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_and_cosine.copy_(torch.stack([loss.detach(), cosines.detach() / seen]))

    run_step = GraphPool(matrix.device).captured(optimizer_step) if uses_graph else optimizer_step
    with fast_products(matrix.device):
        for step, drawn in zip(range(1, total + 1), batches, strict=False):
            if batch and uses_graph:
                for kept, new in zip(batch, drawn, strict=True):
                    kept.copy_(new)
            else:
                batch[:] = drawn
            run_step()
            schedule.step()
            if step % 100 == 0 or step in (1, total):
                loss, cosine = loss_and_cosine.tolist()
                check_finite(f"{name} loss", loss)
                on_step(step, total, cosine)


def drawn_rows(counts: Tensor, config: RowTrainingConfig, device: torch.device, draw: torch.Generator) -> Batches:
    """Yield batches of rows drawn by their ``counts`` (``[V]``) and ``config.weighting``, a share of them uniformly.

    On a CUDA device, all batches have the same shape.
    """
    probabilities = row_probabilities(row_weights(counts, config.weighting), config.uniform_share)
    probabilities = probabilities.to(device, torch.float32)
    while True:
        rows = torch.multinomial(probabilities, config.batch_rows, replacement=True, generator=draw)
        if device.type == "cuda":
            # Counting repetitions would synchronise with the GPU, which takes longer than computing them.
            yield rows, torch.ones_like(rows, dtype=torch.float32)
            continue
        # Frequent rows are drawn many times: computing each once, with a weight, gives the same loss for less work.
        tokens, weights = rows.unique(return_counts=True)
        yield tokens, weights.float()


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Let float32 matrix products round their factors where that is faster.

    The factors are rounded to TF32 (10 bits of fraction) on a GPU with tensor cores, or to bfloat16 (7 bits) on a CPU
    with instructions for it. This error is far below the reconstruction error of the rows. Parameters, sums and the
    optimiser stay float32.
    """
    before = torch.get_float32_matmul_precision()
    if fast_dtype(device) == torch.bfloat16:
        torch.set_float32_matmul_precision("medium" if device.type == "cpu" else "high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _rate(step: int, total: int) -> float:
    warmup = min(1.0, (step + 1) / min(_WARMUP_STEPS, max(1, total // 10)))
    return warmup * 0.5 * (1 + math.cos(math.pi * step / total))
