"""Reconstruction metrics of an embedding matrix, over all tokens and by token frequency."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.codecs.reconstruction_loss import reconstruction_terms
from thinwire.errors import ThinwireError
from thinwire.ops.device import fast_dtype
from thinwire.results.arm_record import FrequencyBucket, Reconstruction, ReconstructionMetrics


@torch.no_grad()
def measure_reconstruction(
    inputs: InputEmbeddings, matrix: Tensor, counts: Tensor, mean_square: float
) -> Reconstruction:
    """Measure how well ``inputs`` rebuild ``matrix`` ``[V, D]``, rows weighted by their occurrences ``counts``
    (``[V]``).

    Args:
        mean_square: of the matrix (``reconstruction_loss.matrix_mean_square``), the unit of the squared error.
    """
    rows = counts.nonzero()[:, 0].to(matrix.device)
    rebuilt, seen = inputs.rows(rows, torch.float32), counts[counts > 0]
    return Reconstruction(
        overall=measure(rebuilt, rows, matrix, seen, mean_square),
        by_frequency=measure_by_frequency(rebuilt, rows, matrix, seen),
    )


@torch.no_grad()
def measure(rebuilt: Tensor, rows: Tensor, matrix: Tensor, counts: Tensor, mean_square: float) -> ReconstructionMetrics:
    """Compare ``rebuilt`` ``[N, D]`` with ``rows`` (``[N]`` ids) of ``matrix`` ``[V, D]``, weighted by ``counts``
    (``[N]``).

    Raises:
        ThinwireError: the error is no finite number, as after a training that diverged at its last step.
    """
    counts = counts.to(matrix.device, torch.float64)
    half_norms = matrix.float().square().sum(-1) / 2
    coarse = matrix.to(fast_dtype(matrix.device))
    cosine = error = nearest = 0.0
    blocks = zip(*(tensor.split(2048) for tensor in (rebuilt.float(), rows, counts)), strict=True)
    for predicted, ids, weights in blocks:
        cosines, errors = reconstruction_terms(predicted, matrix[ids], weights, mean_square)
        cosine, error = cosine + float(cosines), error + float(errors)
        nearest += float(weights[_nearest_is_own(predicted, ids, matrix, coarse, half_norms)].sum())
    if not math.isfinite(cosine + error):
        raise ThinwireError(
            "the rebuilt embeddings are too large or no numbers: the training diverged; lower its rates"
        )
    total = float(counts.sum())
    return ReconstructionMetrics(
        cosine=cosine / total, relative_mse=error / total, nearest_row_accuracy=nearest / total
    )


def _nearest_is_own(predicted: Tensor, rows: Tensor, matrix: Tensor, coarse: Tensor, half_norms: Tensor) -> Tensor:
    """Return whether row ``rows[i]`` of ``matrix`` is the nearest to ``predicted[i]``: ``[N]`` bool.

    x - e|^2 is smallest where x.e - |e|^2 / 2 is largest. Scores in bfloat16 decide nearly all rows in a third of the
    time (on a device that is fast in it); rows within the rounding error are decided again in float32.
    """
    others = torch.addmm(-half_norms.to(coarse.dtype), predicted.to(coarse.dtype), coarse.T)
    others.scatter_(1, rows[:, None], -torch.inf)
    lead = (predicted * matrix[rows].float()).sum(-1) - half_norms[rows] - others.amax(-1)
    # Both factors, the half norm and the score have a relative rounding error of up to 2^-9.
    largest = half_norms.max()
    error = 2**-9 * (3 * predicted.norm(dim=-1) * (2 * largest).sqrt() + 2 * largest)
    doubtful = (lead.abs() <= error).nonzero()[:, 0]
    exact = predicted[doubtful] @ matrix.float().T - half_norms
    result = lead > 0
    result[doubtful] = exact.argmax(-1) == rows[doubtful]
    return result


_BUCKETS = (1, 10, 100, 1_000, 10_000)
"""Fewest occurrences in the training prompts of each frequency bucket."""


@torch.no_grad()
def measure_by_frequency(rebuilt: Tensor, rows: Tensor, matrix: Tensor, counts: Tensor) -> tuple[FrequencyBucket, ...]:
    """Compute the mean cosine of rows that occur 1 to 9 times, 10 to 99 times, ..., each row counted once.

    Arguments as for ``measure``. Empty buckets are left out.
    """
    counts = counts.to(matrix.device, torch.float64)
    buckets: list[FrequencyBucket] = []
    for least, above in zip(_BUCKETS, (*_BUCKETS[1:], None), strict=True):
        members = ((counts >= least) & (counts < (above or torch.inf))).nonzero()[:, 0]
        if len(members) == 0:
            continue
        target = matrix[rows[members]].float()
        cosine = torch.nn.functional.cosine_similarity(rebuilt[members].float(), target, dim=-1)
        buckets.append(
            FrequencyBucket(
                least=least,
                most=above and above - 1,
                num_rows=len(members),
                share_of_tokens=float(counts[members].sum() / counts.sum()),
                cosine=float(cosine.double().mean()),
            )
        )
    return tuple(buckets)
