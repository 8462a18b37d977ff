"""Training the adapter to rebuild embeddings, with no language model in the loop, and measuring how well it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from thinwire.batching import epoch_batches
from thinwire.codecs.table_training import Batches, OnStep, drawn_rows, train_to_rebuild
from thinwire.config import ReconstructionConfig
from thinwire.determinism import generator
from thinwire.objective import reconstruction_terms
from thinwire.precision import fast_dtype
from thinwire.prompts import Encoded
from thinwire.reader import AdapterReader


@dataclass(frozen=True, kw_only=True)
class ReconstructionFigures:
    """Quality of a reconstructed table, rows weighing as often as they occur in the training prompts."""

    cosine: float
    """Mean cosine similarity, -1 to 1."""
    relative_mse: float
    """Mean squared error over the table's mean square; 1 is what predicting zero would cost."""
    nearest_row_accuracy: float
    """Share of tokens whose nearest row of the table (Euclidean) is their own, 0 to 1."""

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


@torch.no_grad()
def measure(rebuilt: Tensor, rows: Tensor, table: Tensor, counts: Tensor, mean_square: float) -> ReconstructionFigures:
    """Compare ``rebuilt`` ``[N, D]`` with the ``rows`` (``[N]``) of ``table`` ``[V, D]`` that it stands for, each
    weighing as its ``counts`` (``[N]``) say."""
    counts = counts.to(table.device, torch.float64)
    half_norms = table.float().square().sum(-1) / 2
    coarse = table.to(fast_dtype(table.device))
    cosine = error = nearest = 0.0
    for predicted, own, weights in zip(*(one.split(2048) for one in (rebuilt.float(), rows, counts)), strict=True):
        cosines, errors = reconstruction_terms(predicted, table[own], weights, mean_square)
        cosine, error = cosine + float(cosines), error + float(errors)
        nearest += float(weights[_nearest_is_own(predicted, own, table, coarse, half_norms)].sum())
    total = float(counts.sum())
    return ReconstructionFigures(
        cosine=cosine / total, relative_mse=error / total, nearest_row_accuracy=nearest / total
    )


def _nearest_is_own(predicted: Tensor, rows: Tensor, table: Tensor, coarse: Tensor, half_norms: Tensor) -> Tensor:
    """Whether row ``rows[i]`` of ``table`` is the nearest to ``predicted[i]``: ``[N]`` bool.

    |x - e|^2 is smallest where x.e - |e|^2 / 2 is largest. Scores in bfloat16 settle nearly all rows in a third of the
    time (where a device is fast in it); what they leave within their rounding error is done again in float32.
    """
    others = torch.addmm(-half_norms.to(coarse.dtype), predicted.to(coarse.dtype), coarse.T)
    others.scatter_(1, rows[:, None], -torch.inf)
    lead = (predicted * table[rows].float()).sum(-1) - half_norms[rows] - others.amax(-1)
    # Both factors, the half norm and the score are rounded by up to 2^-9 of themselves.
    largest = half_norms.max()
    error = 2**-9 * (3 * predicted.norm(dim=-1) * (2 * largest).sqrt() + 2 * largest)
    doubtful = (lead.abs() <= error).nonzero()[:, 0]
    exact = predicted[doubtful] @ table.float().T - half_norms
    result = lead > 0
    result[doubtful] = exact.argmax(-1) == rows[doubtful]
    return result


_BUCKETS = (1, 10, 100, 1_000, 10_000)
"""Least occurrences in the training prompts of each frequency bucket."""


@torch.no_grad()
def measure_by_frequency(
    rebuilt: Tensor, rows: Tensor, table: Tensor, counts: Tensor
) -> list[dict[str, float | int | None]]:
    """Mean cosine of the rows that occur 1 to 9 times, 10 to 99 times, ..., each row counting once; arguments as
    ``measure`` has them.

    Returns:
        A dict for each bucket that holds rows: ``least`` and ``most`` occurrences (None: no limit), ``num_rows``,
        ``share_of_tokens`` (0 to 1) and ``cosine``.
    """
    counts = counts.to(table.device, torch.float64)
    buckets: list[dict[str, float | int | None]] = []
    for least, above in zip(_BUCKETS, (*_BUCKETS[1:], None), strict=True):
        members = ((counts >= least) & (counts < (above or torch.inf))).nonzero()[:, 0]
        if len(members) == 0:
            continue
        own = table[rows[members]].float()
        cosine = torch.nn.functional.cosine_similarity(rebuilt[members].float(), own, dim=-1)
        buckets.append(
            {
                "least": least,
                "most": above and above - 1,
                "num_rows": len(members),
                "share_of_tokens": float(counts[members].sum() / counts.sum()),
                "cosine": float(cosine.double().mean()),
            }
        )
    return buckets


def train_reconstruction(
    reader: AdapterReader,
    table: Tensor,
    counts: Tensor,
    mean_square: float,
    questions: Sequence[Encoded],
    config: ReconstructionConfig,
    seed: int,
    on_step: OnStep = lambda *_: None,
) -> None:
    """Train ``reader.adapter`` in place to rebuild the rows of ``table`` ``[V, D]``.

    ``table`` mode draws rows by ``counts`` (``[V]``), mixed with a uniform share; ``sequence`` mode takes the prompts
    of ``questions`` in shuffled order, as the plan does. Both see the same loss as an arm does.
    """
    draw = generator(table.device, seed, "reconstruction rows")
    by_rows = config.mode == "table"
    batches = (
        drawn_rows(counts, config, table.device, draw)
        if by_rows
        else _prompts_in_turn(questions, config, table.device, seed)
    )
    train_to_rebuild(reader, table, mean_square, batches, config, same_shapes=by_rows, on_step=on_step)


def _prompts_in_turn(
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
