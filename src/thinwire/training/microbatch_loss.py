"""The losses of all arms over one micro-batch, and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.codecs.reconstruction_loss import reconstruction_terms
from thinwire.config.experiment import ArmConfig
from thinwire.model.language_model import LanguageModel
from thinwire.model.lora import StackedLora
from thinwire.ops.cuda_graphs import GraphPool
from thinwire.training.losses import cross_entropy, distillation
from thinwire.training.microbatches import MicroBatch
from thinwire.training.shape_buckets import ShapeBucket, shape_of

SUMS = ("loss", "cosine", "relative_mse", "ce", "first_token_ce", "kd")
"""The values that are added up over a batch's micro-batches. ``cosine`` and ``relative_mse`` are sums over prompt
tokens; the others are already divided by the batch's totals, so that they add up to means."""

Teacher = tuple[LanguageModel, InputEmbeddings]
"""A model and its input embeddings."""


class MicroBatchLoss:
    """Computes losses ``[A]`` and gradients of ``A`` arms on the same micro-batches."""

    def __init__(
        self,
        lm: LanguageModel,
        configs: Sequence[ArmConfig],
        inputs: Sequence[InputEmbeddings],
        lora: StackedLora | None,
        mean_square: float,
        teacher: Teacher | None,
    ) -> None:
        self.num_arms, self._teacher = len(configs), teacher
        self._lm, self._inputs, self._lora, self._mean_square = lm, inputs, lora, mean_square
        rebuilds = [config.input == "adapter" for config in configs]
        self._cosine_weight, self._mse_weight, self._ce_weight, self._first_token_ce_weight, self._kd_weight = (
            torch.tensor(weights, device=lm.device)
            for weights in (
                [config.reconstruction.cosine_weight * on for config, on in zip(configs, rebuilds, strict=True)],
                [config.reconstruction.mse_weight * on for config, on in zip(configs, rebuilds, strict=True)],
                [config.supervision.ce_weight for config in configs],
                [config.supervision.first_token_ce_weight for config in configs],
                [config.supervision.kd_weight for config in configs],
            )
        )
        self._k_tokens = torch.tensor([config.supervision.num_tokens for config in configs], device=lm.device)
        self._rebuilds = any(rebuilds)
        self._supervised = any(config.is_supervised for config in configs)
        self._distilled = any(config.supervision.kd_weight > 0 for config in configs)
        self._failed = torch.zeros(len(configs), dtype=torch.bool, device=lm.device)

    def leave_out(self, arm: int) -> None:
        """Add no gradient of ``arm`` from now on."""
        self._failed[arm] = True

    def backward(self, micro_batch: MicroBatch, totals: Tensor) -> Tensor:
        """Add the gradients of one micro-batch's part of every arm's mean loss; return its ``SUMS``, ``[6, A]``.

        Args:
            totals: ``Batch.totals`` of its batch.
        """
        rows = torch.stack([embed(micro_batch.tokens) for embed in self._inputs])
        cosines = errors = rows.new_zeros(self.num_arms)
        if self._rebuilds:
            target = self._lm.embedding_matrix[micro_batch.tokens]
            cosines, errors = reconstruction_terms(rows, target, micro_batch.prompt_counts, self._mean_square)
        distances = self._cosine_weight * (micro_batch.prompt_counts.sum() - cosines) + self._mse_weight * errors
        losses = distances / totals[0]
        ce = first_token_ce = kd = torch.zeros_like(losses)
        if self._supervised:
            logits = answer_logits(self._lm, rows, micro_batch)
            weights = (micro_batch.answer_places < self._k_tokens[:, None]) / totals[self._k_tokens][:, None]
            token_losses = cross_entropy(logits, micro_batch.answer_ids)
            ce = (weights * token_losses).sum(-1)
            first_token_ce = ((micro_batch.answer_places == 0) / totals[1] * token_losses).sum(-1)
            if self._distilled:
                kd = (weights * distillation(logits, self._teacher_logits(micro_batch))).sum(-1)
            losses = losses + self._ce_weight * ce + self._first_token_ce_weight * first_token_ce + self._kd_weight * kd
        # A failed arm's loss is masked; the other arms' gradients do not depend on it.
        losses.masked_fill(self._failed, 0).sum().backward()
        return torch.stack([losses, cosines, errors, ce, first_token_ce, kd]).detach()

    @torch.no_grad()
    def _teacher_logits(self, micro_batch: MicroBatch) -> Tensor:
        """Return the teacher's logits ``[N, V]``, the same for every arm; without a teacher, the model's own on text,
        without LoRA. Where the questions bring its states, only its output head is left to apply."""
        if micro_batch.teacher_states.shape[1]:
            return (self._teacher[0] if self._teacher else self._lm).logits(micro_batch.teacher_states)
        if self._teacher is not None:
            lm, embed = self._teacher
            return answer_logits(lm, embed(micro_batch.tokens)[None], micro_batch)[0]
        with self._lora.disabled() if self._lora else nullcontext():
            return answer_logits(self._lm, self._lm.embedding_matrix[micro_batch.tokens][None], micro_batch)[0]


def answer_logits(lm: LanguageModel, rows: Tensor, micro_batch: MicroBatch) -> Tensor:
    """Return logits ``[A, N, V]`` at the supervised positions, for each arm's embeddings ``rows`` ``[A, U, D]`` of the
    micro-batch's distinct tokens."""
    return lm.logits(answer_states(lm, rows, micro_batch))


def answer_states(lm: LanguageModel, rows: Tensor, micro_batch: MicroBatch) -> Tensor:
    """Return the last hidden states ``[A, N, D]`` at the supervised positions, for the same."""
    arms, num_rows, width = rows.shape
    offsets = num_rows * torch.arange(arms, device=rows.device)[:, None]
    embeddings = nn.functional.embedding(micro_batch.indices + offsets, rows.reshape(-1, width))
    hidden = lm.packed_states(embeddings, micro_batch.positions, micro_batch.segments)
    return hidden[:, micro_batch.answer_rows]


class GraphedMicroBatches:
    """Runs ``MicroBatchLoss.backward`` as a CUDA graph for micro-batches of the ``planned`` buckets.

    The graphs write gradients to the tensors of the first micro-batch, so these must not be replaced.
    """

    def __init__(self, loss: MicroBatchLoss, planned: Sequence[ShapeBucket], device: torch.device) -> None:
        self._loss, self._planned = loss, planned
        self._graphs = GraphPool(device)
        self._steps: dict[ShapeBucket, _Step] = {}

    def warm_up(self, micro_batch: MicroBatch, totals: Tensor) -> None:
        """Allocate the memory that micro-batches of this shape need. The gradients are undefined afterwards."""
        with self._graphs.warming_up():
            self.backward(micro_batch, totals)

    def backward(self, micro_batch: MicroBatch, totals: Tensor) -> Tensor:
        """Like ``MicroBatchLoss.backward``."""
        shape = shape_of(micro_batch)
        if shape not in self._planned:
            return self._loss.backward(micro_batch, totals)
        if shape not in self._steps:
            self._steps[shape] = _step(self._loss, micro_batch, totals, self._graphs)
        inputs, sums, run = self._steps[shape]
        for target, new in zip(inputs, [*micro_batch.tensors, totals], strict=True):
            target.copy_(new)
        run()
        return sums.clone()


_Step = tuple[list[Tensor], Tensor, Callable[[], None]]
"""The input tensors of a micro-batch of one shape, the tensor of its sums, and the function between them."""


def _step(loss: MicroBatchLoss, micro_batch: MicroBatch, totals: Tensor, graphs: GraphPool) -> _Step:
    """Make the captured step for micro-batches of the shape of ``micro_batch``, whose tensors become its inputs."""
    sums = torch.empty(len(SUMS), loss.num_arms, device=totals.device)

    def run() -> None:
        sums.copy_(loss.backward(micro_batch, totals))

    return [*micro_batch.tensors, totals], sums, graphs.captured(run)
