"""Training what rebuilds rows of the embedding table, with no language model in the loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from thinwire.codecs.weights import row_shares, row_weights
from thinwire.config import Auto, ReconstructionConfig
from thinwire.objective import check_finite, reconstruction_terms
from thinwire.precision import fast_dtype
from thinwire.replay import Replayer

_WARMUP_STEPS = 50
_AUTO_STEPS = {"cuda": 10_000, "cpu": 1_000}

Batches = Iterator[tuple[Tensor, Tensor]]
"""Token ids ``[N]``, and how often each of them counts ``[N]``."""

OnStep = Callable[[int, int, float], None]
"""Called with the steps done, the steps in all and the batch's mean cosine."""


def resolve_steps(steps: int | Auto, device: torch.device) -> int:
    """The step budget, ``auto`` resolved for ``device``."""
    return _AUTO_STEPS["cuda" if device.type == "cuda" else "cpu"] if steps == "auto" else steps


def train_to_rebuild(
    rebuild: nn.Module,
    table: Tensor,
    mean_square: float,
    batches: Batches,
    config: ReconstructionConfig,
    *,
    name: str = "reconstruction",
    same_shapes: bool = False,
    on_step: OnStep = lambda *_: None,
) -> None:
    """Train ``rebuild``, from token ids ``[N]`` to embeddings ``[N, D]``, towards the rows of ``table`` ``[V, D]``.

    Args:
        mean_square: of the table (``objective.table_mean_square``): the unit of the squared error.
        name: what trains, for an error that says that it diverged.
        same_shapes: on a CUDA device every batch has as many tokens: there a step can be one graph.
    """
    total = resolve_steps(config.steps, table.device)
    replays = same_shapes and table.device.type == "cuda"
    optimizer = torch.optim.AdamW(
        rebuild.parameters(),
        lr=torch.tensor(config.learning_rate, device=table.device) if replays else config.learning_rate,
        weight_decay=0.0,
        fused=True,
        capturable=replays,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, total))
    batch: list[Tensor] = []
    figures = torch.zeros(2, device=table.device)

    def descend() -> None:
        tokens, weights = batch
        cosines, errors = reconstruction_terms(rebuild(tokens), table[tokens], weights, mean_square)
        seen = weights.sum()
        loss = config.cosine_weight * (1 - cosines / seen) + config.mse_weight * errors / seen
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        figures.copy_(torch.stack([loss.detach(), cosines.detach() / seen]))

    advance = Replayer(table.device).replayed(descend) if replays else descend
    with fast_products(table.device):
        for step, drawn in zip(range(1, total + 1), batches, strict=False):
            if batch and replays:
                for kept, new in zip(batch, drawn, strict=True):
                    kept.copy_(new)
            else:
                batch[:] = drawn
            advance()
            schedule.step()
            if step % 100 == 0 or step in (1, total):
                loss, cosine = figures.tolist()
                check_finite(f"{name} loss", loss)
                on_step(step, total, cosine)


def drawn_rows(counts: Tensor, config: ReconstructionConfig, device: torch.device, draw: torch.Generator) -> Batches:
    """Batches of rows drawn by their ``counts`` (``[V]``) as ``config`` weighs them, some of them uniformly; of one
    shape on a CUDA device."""
    shares = row_shares(row_weights(counts, config.weighting), config.uniform_share).to(device, torch.float32)
    while True:
        rows = torch.multinomial(shares, config.batch_rows, replacement=True, generator=draw)
        if device.type == "cuda":
            # Counting repetitions makes the processor wait for the GPU, which takes longer than computing them.
            yield rows, torch.ones_like(rows, dtype=torch.float32)
            continue
        # Frequent rows are drawn many times: computing each once and weighing it is the same loss for less work.
        tokens, weights = rows.unique(return_counts=True)
        yield tokens, weights.float()


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Let float32 products round their factors where that makes them faster: to TF32 (10 bits of fraction), which a
    GPU's tensor cores multiply, or to bfloat16 (7 bits) on a processor with instructions for it.

    That error is far below what the rows are rebuilt with. Parameters, sums and the optimiser stay float32.
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
