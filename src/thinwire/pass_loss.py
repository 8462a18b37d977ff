"""The losses of all arms over one pass, and their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from thinwire.batching import Pass
from thinwire.config import ArmConfig
from thinwire.lora import StackedLora
from thinwire.model import LanguageModel
from thinwire.objective import cross_entropy, distillation, reconstruction_terms
from thinwire.padding import Sizes, sizes_of
from thinwire.reader import Reader
from thinwire.replay import Replayer

SUMS = ("loss", "cosine", "relative_mse", "ce", "kd")
"""What is summed over the passes of a batch: means over its supervised tokens already, but for cosine and error, which
are of its prompt tokens."""


Teacher = tuple[LanguageModel, Reader]
"""A model, and what it reads."""


class PassLoss:
    """Adds the gradients of ``A`` arms, which all read the same pass. Figures of theirs are rows ``[A]``."""

    def __init__(
        self,
        lm: LanguageModel,
        configs: Sequence[ArmConfig],
        readers: Sequence[Reader],
        lora: StackedLora | None,
        mean_square: float,
        teacher: Teacher | None,
    ) -> None:
        self.num_arms, self._teacher = len(configs), teacher
        self._lm, self._readers, self._lora, self._mean_square = lm, readers, lora, mean_square
        rebuilds = [config.reads == "adapter" for config in configs]
        self._cosine_weight, self._mse_weight, self._ce_weight, self._kd_weight = (
            torch.tensor(weights, device=lm.device)
            for weights in (
                [config.reconstruction.cosine_weight * on for config, on in zip(configs, rebuilds, strict=True)],
                [config.reconstruction.mse_weight * on for config, on in zip(configs, rebuilds, strict=True)],
                [config.supervision.ce_weight for config in configs],
                [config.supervision.kd_weight for config in configs],
            )
        )
        self._k_tokens = torch.tensor([config.supervision.k_tokens for config in configs], device=lm.device)
        self._supervised = any(config.is_supervised for config in configs)
        self._distilled = any(config.supervision.kd_weight > 0 for config in configs)
        self._failed = torch.zeros(len(configs), dtype=torch.bool, device=lm.device)

    def leave_out(self, arm: int) -> None:
        """Add no gradient of this arm from now on."""
        self._failed[arm] = True

    def backward(self, one: Pass, totals: Tensor) -> Tensor:
        """Add one pass's share of every arm's mean loss to the gradients; returns its part of ``SUMS``, ``[5, A]``.

        Args:
            totals: of the batch that the pass is part of (``Batch.totals``).
        """
        rows = torch.stack([reader(one.tokens) for reader in self._readers])
        target = self._lm.table[one.tokens]
        cosines, errors = reconstruction_terms(rows, target, one.prompt_counts, self._mean_square)
        distances = self._cosine_weight * (one.prompt_counts.sum() - cosines) + self._mse_weight * errors
        losses = distances / totals[0]
        ce = kd = torch.zeros_like(losses)
        if self._supervised:
            logits = answer_logits(self._lm, rows, one)
            shares = (one.answer_places < self._k_tokens[:, None]) / totals[self._k_tokens][:, None]
            ce = (shares * cross_entropy(logits, one.answer_ids)).sum(-1)
            if self._distilled:
                kd = (shares * distillation(logits, self._teacher_logits(one))).sum(-1)
            losses = losses + self._ce_weight * ce + self._kd_weight * kd
        # A failed arm's loss stays out: the gradients of the others do not depend on it.
        losses.masked_fill(self._failed, 0).sum().backward()
        return torch.stack([losses, cosines, errors, ce, kd]).detach()

    @torch.no_grad()
    def _teacher_logits(self, one: Pass) -> Tensor:
        """What the teacher says, or the model when it reads the text itself: ``[N, V]``, the same for every arm."""
        if self._teacher is not None:
            lm, reader = self._teacher
            return answer_logits(lm, reader(one.tokens)[None], one)[0]
        with self._lora.disabled() if self._lora else nullcontext():
            return answer_logits(self._lm, self._lm.table[one.tokens][None], one)[0]


def answer_logits(lm: LanguageModel, rows: Tensor, one: Pass) -> Tensor:
    """Logits ``[A, N, V]`` at the supervised positions alone, each arm reading its ``rows`` ``[A, U, D]``."""
    arms, num_rows, width = rows.shape
    offsets = num_rows * torch.arange(arms, device=rows.device)[:, None]
    embeddings = nn.functional.embedding(one.indices + offsets, rows.reshape(-1, width))
    hidden = lm.packed_states(embeddings, one.positions, one.segments)
    return lm.logits(hidden[:, one.answer_rows])


class ReplayedPasses:
    """The same ``backward``; for passes of ``planned`` sizes, done again without launching its kernels one by one.

    Gradients stay in the tensors where the first pass left them, and must stay there.
    """

    def __init__(self, loss: PassLoss, planned: Sequence[Sizes], device: torch.device) -> None:
        self._loss, self._planned = loss, planned
        self._replayer = Replayer(device)
        self._steps: dict[Sizes, _Step] = {}

    def rehearse(self, one: Pass, totals: Tensor) -> None:
        """Take the memory that passes like this one need. The gradients are left with any numbers."""
        with self._replayer.rehearsing():
            self.backward(one, totals)

    def backward(self, one: Pass, totals: Tensor) -> Tensor:
        """As ``PassLoss.backward``."""
        sizes = sizes_of(one)
        if sizes not in self._planned:
            return self._loss.backward(one, totals)
        if sizes not in self._steps:
            self._steps[sizes] = _step(self._loss, one, totals, self._replayer)
        inputs, sums, run = self._steps[sizes]
        for place, new in zip(inputs, [*one.tensors, totals], strict=True):
            place.copy_(new)
        run()
        return sums.clone()


_Step = tuple[list[Tensor], Tensor, Callable[[], None]]
"""Where a pass of one size is put, where its sums are found, and what is run between."""


def _step(loss: PassLoss, one: Pass, totals: Tensor, replayer: Replayer) -> _Step:
    sums = torch.empty(len(SUMS), loss.num_arms, device=totals.device)

    def run() -> None:
        sums.copy_(loss.backward(one, totals))

    return [*one.tensors, totals], sums, replayer.replayed(run)
