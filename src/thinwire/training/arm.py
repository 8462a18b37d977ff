"""The training state of one arm: its parameters, its best epoch, its resume points and its result."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from thinwire.errors import ThinwireError, UsageError
from thinwire.model.lora import StackedLora
from thinwire.results.arm_record import TrainingResult
from thinwire.training.job import TrainingJob
from thinwire.training.state import Position, TrainingState


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

    def fail(self, error: ThinwireError, optimizer: torch.optim.Optimizer) -> None:
        """Note the error that ends this arm, and remove its parameters from ``optimizer``."""
        self.failure = error
        own = {id(parameter) for parameter in self.parameters()}
        for group in optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in own]

    def remember_if_best(self, epoch: int, score: float) -> None:
        """Copy the weights to the CPU if no earlier epoch scored as high."""
        if self._best is None or score > self._best[0]:
            self._best = (score, epoch, [parameter.detach().cpu().clone() for parameter in self.parameters()])

    def state(
        self, position: Position, optimizer: torch.optim.Optimizer, *, micro_batch_tokens: int, random: list[Tensor]
    ) -> TrainingState:
        """Return the resume point at ``position``, with the states of the generators of dropout masks."""
        score, best_epoch, best = self._best or (-math.inf, 0, [])
        parameters = [] if position.epoch == self.config.training.epochs else self.parameters()
        moments = [optimizer.state[parameter] for parameter in parameters] if self.failure is None else []
        return TrainingState(
            epoch=position.epoch,
            step=position.step,
            failure=None if self.failure is None else str(self.failure),
            micro_batch_tokens=micro_batch_tokens,
            cpu_threads=torch.get_num_threads(),
            random=random,
            num_tokens=self.num_tokens,
            seconds=self.seconds,
            trained_together=self.trained_together,
            best_epoch=best_epoch,
            best_score=score,
            best=self._tensors(best) if best else [],
            now=self._tensors([parameter.detach() for parameter in parameters]) if parameters else [],
            first_moments=self._tensors([moment["exp_avg"] for moment in moments]) if moments else [],
            second_moments=self._tensors([moment["exp_avg_sq"] for moment in moments]) if moments else [],
        )

    def resume(self, optimizer: torch.optim.Optimizer) -> Position:
        """Restore the resume point of the job; return its position, the beginning if there is none."""
        resume_from = self.job.resume_from
        if resume_from is None:
            return Position(epoch=0, step=0)
        self.num_tokens, self.seconds = resume_from.num_tokens, resume_from.seconds
        self.trained_together = resume_from.trained_together
        parameters = [parameter.detach() for parameter in self.parameters()]
        if resume_from.best:
            best = [torch.zeros_like(parameter, device="cpu") for parameter in parameters]
            self._fill(best, resume_from.best)
            self._best = resume_from.best_score, resume_from.best_epoch, best
        if resume_from.now:
            self._fill(parameters, resume_from.now)
        if resume_from.first_moments:
            first, second = ([torch.zeros_like(parameter) for parameter in parameters] for _ in range(2))
            self._fill(first, resume_from.first_moments)
            self._fill(second, resume_from.second_moments)
            for number, parameter in enumerate(self.parameters()):
                steps = torch.tensor(float(resume_from.step), device=parameter.device)
                moments = {"exp_avg": first[number], "exp_avg_sq": second[number]}
                optimizer.state[parameter] = {"step": steps, **moments}
        if resume_from.failure is not None:
            self.fail(ThinwireError(resume_from.failure), optimizer)
        return Position(epoch=resume_from.epoch, step=resume_from.step)

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
