"""The loss of an arm, as sums over one pass; divided by a batch's totals they add up to the mean of the batch."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from thinwire.errors import ThinwireError


def reconstruction_terms(
    predicted: Tensor, target: Tensor, counts: Tensor, mean_square: float
) -> tuple[Tensor, Tensor]:
    """Cosine similarity and relative squared error, summed over tokens as often as they occur.

    Args:
        predicted: ``[..., U, D]`` reconstructed embeddings, float32.
        target: ``[U, D]`` the table's rows.
        counts: ``[U]`` occurrences of each row.
        mean_square: mean square of the table's entries as the corpus sees them, so that the error means the same for
            every model: 1 is what predicting zero would cost.

    Returns:
        Two tensors ``[...]``: sum of count x cosine, and sum of count x mean squared error / ``mean_square``.
    """
    cosine = F.cosine_similarity(predicted, target.float(), dim=-1)
    error = (predicted - target.float()).square().mean(-1) / mean_square
    return (counts * cosine).sum(-1), (counts * error).sum(-1)


def cross_entropy(logits: Tensor, answer_ids: Tensor) -> Tensor:
    """Cross-entropy in nats of ``[..., N, V]`` logits against ``[N]`` ids: ``[..., N]``."""
    ids = answer_ids.expand(logits.shape[:-1])
    return F.cross_entropy(logits.flatten(0, -2), ids.flatten(), reduction="none").view(ids.shape)


def distillation(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """KL(teacher || student) in nats, ``[..., N, V]`` and ``[N, V]``: ``[..., N]`` (Hinton et al. 2015,
    temperature 1)."""
    student, teacher = torch.log_softmax(student_logits, -1), torch.log_softmax(teacher_logits, -1)
    return F.kl_div(student, teacher.expand_as(student), reduction="none", log_target=True).sum(-1)


def table_mean_square(table: Tensor, counts: Tensor) -> float:
    """Mean square of the entries of ``table`` ``[V, D]``, row ``i`` weighing ``counts[i]``."""
    weights = (counts / counts.sum()).to(table.device, torch.float64)
    total = torch.zeros((), dtype=torch.float64, device=table.device)
    for rows, block in zip(table.split(8192), weights.split(8192), strict=True):
        total += block @ rows.double().square().mean(-1)
    return float(total)


def check_finite(name: str, value: float) -> float:
    """Return ``value``, or raise: NaN and infinity mean that training diverged."""
    if not math.isfinite(value):
        raise ThinwireError(f"{name} became {value}; lower the learning rates or check the data")
    return value
