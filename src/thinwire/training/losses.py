"""The supervised losses of an arm, for each supervised token."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, answer_ids: Tensor) -> Tensor:
    """Return the cross-entropy ``[..., N]``, in nats, of logits ``[..., N, V]`` against ids ``[N]``."""
    ids = answer_ids.expand(logits.shape[:-1])
    return F.cross_entropy(logits.flatten(0, -2), ids.flatten(), reduction="none").view(ids.shape)


def distillation(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return KL(teacher || student) ``[..., N]``, in nats, of student logits ``[..., N, V]`` and teacher logits
    ``[N, V]`` (Hinton et al. 2015, temperature 1)."""
    student, teacher = torch.log_softmax(student_logits, -1), torch.log_softmax(teacher_logits, -1)
    return F.kl_div(student, teacher.expand_as(student), reduction="none", log_target=True).sum(-1)
