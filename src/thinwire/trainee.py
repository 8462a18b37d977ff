"""One arm in training: its parameters, its best epoch, its state between epochs, how it ended."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thinwire.errors import ThinwireError, UsageError
from thinwire.learner import Learner, Outcome
from thinwire.lora import StackedLora
from thinwire.training_state import TrainingState


class Trainee:
    """Arm ``number`` of those that train together. Its ``row`` of LoRA factors is the stack's; None without LoRA."""

    def __init__(self, learner: Learner, lora: StackedLora | None, number: int) -> None:
        config = learner.config
        self.learner, self.number, self.config, self.reader = learner, number, config, learner.reader
        self.adapter = list(learner.reader.parameters())
        self.row = lora.row(number) if lora else None
        self._lora = lora
        self.failure: ThinwireError | None = None
        self.num_tokens, self.seconds, self.trained_together = 0, 0.0, 0
        self._best: tuple[float, int, list[Tensor]] | None = None
        if config.lora.rank > 0 and not config.is_supervised:
            raise UsageError("lora.rank > 0, but supervision.ce_weight and kd_weight are 0: nothing would train LoRA")
        if not self.parameters():
            raise UsageError("nothing to train: this arm has neither an adapter nor LoRA; set training.epochs=0")

    def parameters(self) -> list[nn.Parameter]:
        """All that trains: the adapter's tensors, then the row of LoRA factors."""
        return [*self.adapter, *([] if self.row is None else [self.row])]

    def leave(self, optimizer: torch.optim.Optimizer) -> None:
        """Have the optimiser change nothing of this arm from now on."""
        own = {id(parameter) for parameter in self.parameters()}
        for group in optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in own]

    def remember_if_best(self, epoch: int, score: float) -> None:
        """Keep a copy of the weights, on the CPU, if no epoch before was as good."""
        if self._best is None or score > self._best[0]:
            self._best = (score, epoch, [parameter.detach().cpu().clone() for parameter in self.parameters()])

    def state(self, epoch: int, optimizer: torch.optim.Optimizer) -> TrainingState:
        """All that going on after ``epoch`` would need."""
        assert self._best is not None, "every epoch ends with a look at its score"
        score, best_epoch, best = self._best
        left = [] if epoch == self.config.training.epochs else self.parameters()
        moments = [optimizer.state[parameter] for parameter in left]
        return TrainingState(
            epoch=epoch,
            num_tokens=self.num_tokens,
            seconds=self.seconds,
            trained_together=self.trained_together,
            best_epoch=best_epoch,
            best_score=score,
            best=self._tensors(best),
            now=self._tensors([parameter.detach() for parameter in left]),
            first_moments=self._tensors([moment["exp_avg"] for moment in moments]),
            second_moments=self._tensors([moment["exp_avg_sq"] for moment in moments]),
        )

    def go_on(self, optimizer: torch.optim.Optimizer, steps_an_epoch: int) -> int:
        """Take up what an earlier run has done. Returns the number of its epochs, 0 where there was none."""
        begun = self.learner.begun
        if begun is None:
            return 0
        self.num_tokens, self.seconds = begun.num_tokens, begun.seconds
        self.trained_together = begun.trained_together
        parameters = [parameter.detach() for parameter in self.parameters()]
        best = [torch.zeros_like(parameter, device="cpu") for parameter in parameters]
        self._fill(best, begun.best)
        self._best = begun.best_score, begun.best_epoch, best
        if begun.epoch < self.config.training.epochs:
            first, second = ([torch.zeros_like(parameter) for parameter in parameters] for _ in range(2))
            for blank, saved in (
                (parameters, begun.now),
                (first, begun.first_moments),
                (second, begun.second_moments),
            ):
                self._fill(blank, saved)
            for number, parameter in enumerate(self.parameters()):
                steps = torch.tensor(float(begun.epoch * steps_an_epoch), device=parameter.device)
                moments = {"exp_avg": first[number], "exp_avg_sq": second[number]}
                optimizer.state[parameter] = {"step": steps, **moments}
        return begun.epoch

    def _tensors(self, parameters: list[Tensor]) -> list[Tensor]:
        """Of tensors like ``parameters()``, what does not depend on the arms beside this one: without padding."""
        rows = parameters[len(self.adapter) :]
        factors = [factor for row in rows if self._lora for factor in self._lora.factors_in(row, self.number).values()]
        return [*parameters[: len(self.adapter)], *factors]

    def _fill(self, parameters: list[Tensor], saved: list[Tensor]) -> None:
        for tensor, value in zip(self._tensors(parameters), saved, strict=True):
            tensor.copy_(value)

    def outcome(self, *, num_steps: int) -> Outcome:
        """Put the best epoch's weights back, and say which it was."""
        assert self._best is not None, "an arm that trains has at least one epoch"
        score, epoch, weights = self._best
        for parameter, best in zip(self.parameters(), weights, strict=True):
            parameter.data.copy_(best)
        return Outcome(
            best_epoch=epoch,
            best_score=score,
            num_steps=num_steps,
            num_tokens=self.num_tokens,
            seconds=self.seconds,
            trained_together=self.trained_together,
        )
