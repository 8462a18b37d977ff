"""The training state of one arm: its parameters, its best epoch, its resume points and its result."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thinwire.errors import ThinwireError, UsageError
from thinwire.model.lora import StackedLora
from thinwire.results.arm_record import TrainingResult
from thinwire.training.job import TrainingJob
from thinwire.training.state import TrainingState


class ArmTraining:
    """Training state of arm ``number`` of those that train together.

    Its ``row`` of LoRA factors belongs to the stack; None if no LoRA is trained.
    """

    def __init__(self, job: TrainingJob, lora: StackedLora | None, number: int) -> None:
        config = job.config
        self.job, self.number, self.config, self.inputs = job, number, config, job.inputs
        self.adapter = list(job.inputs.parameters())
        self.row = lora.row(number) if lora else None
        self._lora = lora
        self.failure: ThinwireError | None = None
        self.num_tokens, self.seconds, self.trained_together = 0, 0.0, 0
        self._best: tuple[float, int, list[Tensor]] | None = None
        if config.untrained_lora:
            raise UsageError(config.untrained_lora)
        if not self.parameters():
            raise UsageError("nothing to train: this arm has neither an adapter nor LoRA; set training.epochs=0")

    def parameters(self) -> list[nn.Parameter]:
        """Return all trained parameters: the adapter's tensors, then the row of LoRA factors."""
        return [*self.adapter, *([] if self.row is None else [self.row])]

    def leave(self, optimizer: torch.optim.Optimizer) -> None:
        """Remove this arm's parameters from ``optimizer``."""
        own = {id(parameter) for parameter in self.parameters()}
        for group in optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in own]

    def remember_if_best(self, epoch: int, score: float) -> None:
        """Copy the weights to the CPU if no earlier epoch scored as high."""
        if self._best is None or score > self._best[0]:
            self._best = (score, epoch, [parameter.detach().cpu().clone() for parameter in self.parameters()])

    def state(self, epoch: int, optimizer: torch.optim.Optimizer) -> TrainingState:
        """Return the resume point after ``epoch``."""
        assert self._best is not None, "every epoch ends with its score"
        score, best_epoch, best = self._best
        parameters = [] if epoch == self.config.training.epochs else self.parameters()
        moments = [optimizer.state[parameter] for parameter in parameters]
        return TrainingState(
            epoch=epoch,
            num_tokens=self.num_tokens,
            seconds=self.seconds,
            trained_together=self.trained_together,
            best_epoch=best_epoch,
            best_score=score,
            best=self._tensors(best),
            now=self._tensors([parameter.detach() for parameter in parameters]),
            first_moments=self._tensors([moment["exp_avg"] for moment in moments]),
            second_moments=self._tensors([moment["exp_avg_sq"] for moment in moments]),
        )

    def resume(self, optimizer: torch.optim.Optimizer, steps_an_epoch: int) -> int:
        """Restore the resume point of the job; return the number of epochs done, 0 without a resume point."""
        resume_from = self.job.resume_from
        if resume_from is None:
            return 0
        self.num_tokens, self.seconds = resume_from.num_tokens, resume_from.seconds
        self.trained_together = resume_from.trained_together
        parameters = [parameter.detach() for parameter in self.parameters()]
        best = [torch.zeros_like(parameter, device="cpu") for parameter in parameters]
        self._fill(best, resume_from.best)
        self._best = resume_from.best_score, resume_from.best_epoch, best
        if resume_from.epoch < self.config.training.epochs:
            first, second = ([torch.zeros_like(parameter) for parameter in parameters] for _ in range(2))
            for target, saved in (
                (parameters, resume_from.now),
                (first, resume_from.first_moments),
                (second, resume_from.second_moments),
            ):
                self._fill(target, saved)
            for number, parameter in enumerate(self.parameters()):
                steps = torch.tensor(float(resume_from.epoch * steps_an_epoch), device=parameter.device)
                moments = {"exp_avg": first[number], "exp_avg_sq": second[number]}
                optimizer.state[parameter] = {"step": steps, **moments}
        return resume_from.epoch

    def _tensors(self, parameters: list[Tensor]) -> list[Tensor]:
        """Return the parts of tensors like ``parameters()`` that do not depend on the other arms: the adapter's, then
        the LoRA factors without padding."""
        rows = parameters[len(self.adapter) :]
        factors = [factor for row in rows if self._lora for factor in self._lora.factors_in(row, self.number).values()]
        return [*parameters[: len(self.adapter)], *factors]

    def _fill(self, parameters: list[Tensor], saved: list[Tensor]) -> None:
        """Copy ``saved`` tensors, as ``_tensors`` returns them, into tensors like ``parameters()``."""
        for tensor, value in zip(self._tensors(parameters), saved, strict=True):
            tensor.copy_(value)

    def result(self, *, num_steps: int) -> TrainingResult:
        """Restore the best epoch's weights, and return the result."""
        assert self._best is not None, "an arm that trains has at least one epoch"
        score, epoch, weights = self._best
        for parameter, best in zip(self.parameters(), weights, strict=True):
            parameter.data.copy_(best)
        return TrainingResult(
            best_epoch=epoch,
            best_score=score,
            num_steps=num_steps,
            num_tokens=self.num_tokens,
            seconds=self.seconds,
            trained_together=self.trained_together,
        )
