"""Training arms: a little supervision through the frozen model, and reconstruction beside it.

Arms that visit the same questions in the same order train together ("fused"): the frozen model runs once over the
tokens of all of them, and no number of one arm reaches another. Training one arm is training a group of one.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from thinwire.batching import Batch
from thinwire.config import ArmConfig, TrainingConfig
from thinwire.determinism import seeded
from thinwire.errors import ThinwireError
from thinwire.learner import Learner, Outcome, StepMetrics
from thinwire.lora import StackedLora
from thinwire.memory import halved_until_it_fits, held_back
from thinwire.model import LanguageModel
from thinwire.objective import check_finite
from thinwire.pass_loss import SUMS, PassLoss, ReplayedPasses, Teacher
from thinwire.prompts import Encoded
from thinwire.schedule import Schedule
from thinwire.trainee import Trainee

Part = Literal["adapter", "lora"]


def train(
    lm: LanguageModel,
    learners: Sequence[Learner],
    lora: StackedLora | None,
    questions: Sequence[Encoded],
    mean_square: float,
    *,
    pass_tokens: int,
    is_tried: bool = False,
    replay: bool,
    teacher: Teacher | None = None,
) -> list[Outcome | ThinwireError]:
    """Train readers and LoRA in place, and leave each arm as it was after its best epoch.

    Args:
        learners: arms that may differ in what ``can_train_together`` leaves free, in the order of ``lora``'s. All of
            them begin, or all go on after the same epoch.
        mean_square: of the embedding table (``objective.table_mean_square``): the unit of the squared error.
        pass_tokens: most tokens in one pass, of all arms together.
        is_tried: run the largest passes before training, and take smaller ones if the device's memory does not suffice.
        replay: pad passes to the sizes that the first epoch's have, and on a CUDA device launch each size's kernels as
            one graph.
        teacher: of the arms that are distilled; by default the model itself, reading text.

    Returns:
        For each learner its outcome, or the error that ended it (its loss is no longer finite; its weights are as
        before that step). The others go on.

    Raises:
        UsageError: LoRA with no supervision that could reach it, or nothing to train.
    """
    arms = [Trainee(learner, lora, number) for number, learner in enumerate(learners)]
    training, seed = learners[0].config.training, learners[0].config.seed
    optimizer = torch.optim.AdamW(_parameter_groups(arms), fused=True)
    steps_an_epoch = -(-len(questions) // training.batch_size)
    (done,) = {arm.go_on(optimizer, steps_an_epoch) for arm in arms}
    loss = PassLoss(lm, [arm.config for arm in arms], [arm.reader for arm in arms], lora, mean_square, teacher)
    k_tokens = max(arm.config.supervision.k_tokens for arm in arms)

    def prepared(tokens: int) -> tuple[Schedule, ReplayedPasses]:
        schedule = Schedule(questions, arms[0].config, k_tokens=k_tokens, pass_tokens=tokens, few_sizes=replay)
        passes = ReplayedPasses(loss, schedule.sizes, lm.device)
        if is_tried and done < training.epochs:
            with _dropping(lora, seed, epoch=0), _strided_gradients_are_meant():
                _rehearse(passes, schedule, arms, k_tokens, lm.device)
        return schedule, passes

    started = time.perf_counter()
    schedule, passes = halved_until_it_fits(max(1, pass_tokens // len(arms)), prepared)
    share = (time.perf_counter() - started) / len(arms)
    for arm in arms:
        arm.seconds += share
    run = _Run(lm.device, arms, lora, loss, passes)
    for epoch in range(done + 1, training.epochs + 1):
        with _dropping(lora, seed, epoch), _strided_gradients_are_meant():
            batches = (batch.to(lm.device) for batch in schedule.batches(epoch))
            _train_epoch(run, optimizer, batches, epoch, steps_an_epoch)
        for arm in run.living():
            arm.trained_together = max(arm.trained_together, len(arms))
            arm.remember_if_best(epoch, arm.learner.select(epoch))
        for arm in run.living():  # not before all are scored: those that stop here are to go on together
            arm.learner.keep(arm.state(epoch, optimizer))
    return [arm.failure or arm.outcome(num_steps=training.epochs * steps_an_epoch) for arm in arms]


def _rehearse(
    passes: ReplayedPasses, schedule: Schedule, arms: Sequence[Trainee], k_tokens: int, device: torch.device
) -> None:
    """Try passes of all sizes that training will have, the largest first, so that graphs of the others find room in
    its memory. Leaves numbers in the gradients, as a step begins by clearing them."""
    trained = sum(parameter.numel() * parameter.element_size() for arm in arms for parameter in arm.parameters())
    totals = torch.ones(1 + k_tokens, device=device)
    rehearsal = schedule.rehearsal()
    with held_back(device, trained):
        # The very first is run as it is: where there are to be graphs, it comes again for its own.
        for one in (*(rehearsal[:1] if schedule.sizes else []), *rehearsal):
            passes.rehearse(one.to(device), totals)


def _train_epoch(
    run: _Run, optimizer: torch.optim.Optimizer, batches: Iterator[Batch], epoch: int, num_steps: int
) -> None:
    """``num_steps`` steps, one for each batch; fewer if no arm is left."""
    total = run.arms[0].config.training.epochs * num_steps
    batch = next(batches, None)
    step = (epoch - 1) * num_steps
    while batch is not None and run.living():
        started = time.perf_counter()
        step += 1
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _rate(step - 1, total, group["training"])
        optimizer.zero_grad(set_to_none=False)  # a replayed step adds to the tensors that it was captured with
        sums = run.backward(batch)
        upcoming = next(batches, None)  # made while a GPU is still at work on this one
        figures = run.settle(batch, sums, step, optimizer)
        optimizer.step()
        rates = {(group["part"], group["training"]): group["lr"] for group in optimizer.param_groups}
        elapsed = time.perf_counter() - started
        read = [batch.num_tokens(arm.config.supervision.k_tokens) for arm in run.arms]
        for arm in run.living():
            arm.seconds += elapsed / len(run.arms)
            arm.num_tokens += read[arm.number]
            arm.learner.on_step(
                StepMetrics(
                    step=step,
                    epoch=epoch,
                    **figures[arm.number],
                    lr_adapter=rates["adapter", arm.config.training] if arm.adapter else None,
                    lr_lora=None if arm.row is None else rates["lora", arm.config.training],
                    tokens_per_second=sum(read) / elapsed,
                ),
                total,
            )
        batch = upcoming


def can_train_together(one: ArmConfig, other: ArmConfig) -> bool:
    """Whether two arms see the same questions in the same order, and differ only in what is each arm's own."""

    def common(arm: ArmConfig) -> object:
        own = {"adapter_lr", "lora_lr", "warmup_steps", "weight_decay", "clip_norm"}
        training = arm.training.model_dump(exclude=own)
        return [arm.seed, arm.context, arm.prompt, training]

    teachers = {arm.supervision.teacher for arm in (one, other) if arm.supervision.kd_weight > 0}
    dropouts = {arm.lora.dropout for arm in (one, other) if arm.lora.rank > 0}
    trained = one.has_trainable and other.has_trainable and one.is_supervised and other.is_supervised
    return trained and len(teachers) <= 1 and len(dropouts) <= 1 and common(one) == common(other)


class _Run:
    """What the steps of one training share. Figures of all ``A`` arms are rows ``[A]``, in the arms' order."""

    def __init__(
        self,
        device: torch.device,
        arms: list[Trainee],
        lora: StackedLora | None,
        loss: PassLoss,
        passes: ReplayedPasses,
    ) -> None:
        self._device, self.arms, self._lora = device, arms, lora
        self._loss, self._passes = loss, passes

    def living(self) -> list[Trainee]:
        return [arm for arm in self.arms if arm.failure is None]

    def backward(self, batch: Batch) -> Tensor:
        """Add to every living arm's gradient, then clip it. Returns ``[7, A]``, still on the device: the sums of
        ``SUMS`` over the passes, and the norms of the gradients of adapter and LoRA before clipping."""
        sums = torch.stack([self._passes.backward(one, batch.totals) for one in batch.passes]).sum(0)
        norms = torch.stack([norm for arm in self.arms for norm in _norms(arm, self._device)]).view(-1, 2)
        for arm, norm in zip(self.arms, norms.norm(dim=1), strict=True):
            nn.utils.clip_grads_with_norm_(arm.parameters(), arm.config.training.clip_norm, norm)
        return torch.cat([sums, norms.T])

    def settle(self, batch: Batch, sums: Tensor, step: int, optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
        """End arms whose figures are no longer finite, before this step touches their weights. Returns each arm's
        losses and norms."""
        figures = []
        for arm, values in zip(self.arms, sums.T.tolist(), strict=True):  # waits for the device
            *values, adapter_norm, lora_norm = values
            figures.append(
                {
                    **_means(arm.config, values, batch),
                    "grad_norm_adapter": adapter_norm if arm.adapter else None,
                    "grad_norm_lora": None if arm.row is None else lora_norm,
                }
            )
            if arm.failure is None:
                try:
                    check_finite(f"loss at step {step}", values[0])
                    check_finite(f"gradient norm at step {step}", adapter_norm + lora_norm)
                    if step == 1:
                        _check_wiring(arm, self._lora)
                except ThinwireError as error:
                    # Its traceback would hold on to all that is in this frame, graphs included, while others go on.
                    arm.failure = error.with_traceback(None)
                    arm.leave(optimizer)
                    self._loss.leave_out(arm.number)
        return figures


def _means(config: ArmConfig, values: Sequence[float], batch: Batch) -> dict[str, float | None]:
    sums = dict(zip(SUMS, values, strict=True))
    rebuilds, weights = config.reads == "adapter", config.supervision
    return {
        "loss": sums["loss"],
        "cosine": sums["cosine"] / batch.num_prompt_tokens if rebuilds else None,
        "relative_mse": sums["relative_mse"] / batch.num_prompt_tokens if rebuilds else None,
        "ce": sums["ce"] if config.is_supervised else None,
        "kd": sums["kd"] if weights.kd_weight > 0 else None,
    }


def _parameter_groups(arms: Sequence[Trainee]) -> list[dict[str, Any]]:
    """For the optimiser: the parameters of all arms that share their rates, in one group."""
    groups: dict[tuple[Part, TrainingConfig], list[nn.Parameter]] = {}
    for arm in arms:
        parts: dict[Part, list[nn.Parameter]] = {"adapter": arm.adapter, "lora": [] if arm.row is None else [arm.row]}
        for part, parameters in parts.items():
            if parameters:
                groups.setdefault((part, arm.config.training), []).extend(parameters)
    return [
        {
            "params": parameters,
            "peak": {"adapter": training.adapter_lr, "lora": training.lora_lr}[part],
            "weight_decay": training.weight_decay,
            "part": part,
            "training": training,
        }
        for (part, training), parameters in groups.items()
    ]


def _norms(arm: Trainee, device: torch.device) -> Iterator[Tensor]:
    for part in (arm.adapter, [] if arm.row is None else [arm.row]):
        gradients = [parameter.grad for parameter in part if parameter.grad is not None]
        yield nn.utils.get_total_norm(gradients).to(device) if gradients else torch.zeros((), device=device)


def _check_wiring(arm: Trainee, lora: StackedLora | None) -> None:
    unreached = [parameter for parameter in arm.adapter if parameter.grad is None]
    modules = lora.unreached(arm.number) if lora else []
    if unreached or modules:
        raise ThinwireError(
            f"{len(unreached)} of {len(arm.adapter)} tensors of the adapter and {len(modules)} LoRA modules "
            f"{modules[:3]} got no gradient; the arm is wired wrong"
        )


@contextmanager
def _dropping(lora: StackedLora | None, seed: int, epoch: int) -> Iterator[None]:
    """LoRA dropout for the length of the block. An epoch's masks depend on no epoch before it."""
    with seeded(seed, "dropout", epoch):
        if lora:
            lora.set_dropout(True)
        yield
        if lora:
            lora.set_dropout(False)


@contextmanager
def _strided_gradients_are_meant() -> Iterator[None]:
    """Drop torch's advice on the stacked factors, whose gradients lie in rows by arm on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "grad and param do not obey the gradient layout contract")
        yield


def _rate(step: int, total: int, config: TrainingConfig) -> float:
    """Linear warm-up, then linear decay to zero at the end of the run, as a factor of the peak rate."""
    warmup = min(20, total // 10) if config.warmup_steps == "auto" else config.warmup_steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (total - step) / max(1, total - warmup)
